"""Durations as Go writes them: ``10s``, ``1m30s``, ``500ms``."""

from __future__ import annotations

import re

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|μs|ns|m|s)")


def parse_duration(text: str) -> float:
    """Seconds of a duration in the form of Go's ``time.Duration``; not negative.

    Raises:
        ValueError: it has another form.
    """
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"'{text}' is no duration (such as 10s, 1m30s, 500ms)")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)

"""Silence: a source that is paced from outside gives no frames, without an error."""

from __future__ import annotations

SILENT_FROM_S = 3.0  # cameras pause for a second or two when they adjust themselves


def no_frame(silent_s: float) -> str:
    """``no frame for 4 s``, or "" where that is nothing unusual."""
    return f"no frame for {silent_s:.0f} s" if silent_s >= SILENT_FROM_S else ""

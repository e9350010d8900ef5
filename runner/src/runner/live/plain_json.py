"""plain_json: JSON that everybody can read, of values that a pipeline may have had a hand in."""

from __future__ import annotations

import json
import math
from typing import Any


def plain_json(value: Any) -> bytes:
    """`value` as JSON in ASCII; NaN and infinity, for which JSON has no name, as null; what is no JSON as text."""
    try:
        text = json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(value), default=str)
    return text.encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

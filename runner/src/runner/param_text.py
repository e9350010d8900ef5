"""What a param that a person has typed stands for."""

from __future__ import annotations

import json
from typing import Any


def param_value(text: str) -> Any:
    """The JSON value of a text, or the text itself where it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text

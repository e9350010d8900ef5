"""How large params may be that come from outside."""

from __future__ import annotations

import json
from typing import Any

from ..errors import ParamsError

PARAMS_LIMIT_BYTES = 256 << 10  # as JSON
PARAMS_LIMIT_DEPTH = 32  # objects and arrays inside one another


def check_params(params: dict[str, Any]) -> None:
    """Look whether params are of a size that every part of the runner can take.

    Raises:
        ParamsError: they are not, or hold what JSON has no name for.
    """
    if _depth(params) > PARAMS_LIMIT_DEPTH:
        raise ParamsError(f"params are nested more than {PARAMS_LIMIT_DEPTH} levels deep")
    try:
        size_bytes = len(json.dumps(params, allow_nan=False, ensure_ascii=False).encode("utf-8"))
    except ValueError as error:  # NaN, infinity, half a character
        raise ParamsError(f"params are not JSON: {error}") from error
    if size_bytes > PARAMS_LIMIT_BYTES:
        raise ParamsError(f"params of {size_bytes} bytes are too large; {PARAMS_LIMIT_BYTES} are allowed")


def _depth(params: dict[str, Any]) -> int:
    depth = 0
    level: list[Any] = [params]
    while level:
        depth += 1
        values = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in values if isinstance(value, (dict, list))]
    return depth

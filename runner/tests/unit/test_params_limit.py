"""The limits of params that come from outside."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import ParamsError
from runner.live.params_limit import PARAMS_LIMIT_BYTES, PARAMS_LIMIT_DEPTH, check_params


def nested(levels: int, inner: Any) -> dict[str, Any]:
    """Objects and arrays in turn, so many levels of them."""
    for level in reversed(range(1, levels)):
        inner = [inner] if level % 2 else {"a": inner}
    return {"a": inner}


def of_size(size_bytes: int, character: str = "x") -> dict[str, Any]:
    """Params that have this size as JSON."""
    rest = size_bytes - len('{"a": ""}')
    return {"a": character * (rest // len(character.encode()))}


@pytest.mark.parametrize(
    "params",
    [{}, nested(PARAMS_LIMIT_DEPTH, 1), of_size(PARAMS_LIMIT_BYTES), {"a": None, "b": [True, 1.5, "ü"]}],
)
def test_up_to_the_limits_they_are_taken(params: dict[str, Any]) -> None:
    check_params(params)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (nested(PARAMS_LIMIT_DEPTH + 1, 1), "nested more than 32 levels"),
        (of_size(PARAMS_LIMIT_BYTES + 1), f"params of {PARAMS_LIMIT_BYTES + 1} bytes are too large"),
        (of_size(PARAMS_LIMIT_BYTES + 100, "ü"), "too large"),
        ({"a": float("nan")}, "not JSON"),
        ({"a": [float("inf")]}, "not JSON"),
        ({"a": "\ud800"}, "not JSON"),
    ],
)
def test_beyond_them_they_are_refused(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParamsError, match=reason):
        check_params(params)

"""Form fields read from the JSON schemas that pydantic really makes."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from ai_runner_studio.tui.schema import ParamField, read_fields


class Mode(str, Enum):
    SOFT = "soft"
    HARD = "hard"


class Params(BaseModel):
    strength: float = Field(0.5, ge=0, le=1, description="How   much\nof it.")
    radius: int = Field(5, ge=1, le=31)
    gain: float = Field(1.0, gt=0)
    width: int = Field(512, ge=64, le=1024, multiple_of=64)
    mode: Mode = Mode.SOFT
    kind: Literal["a", "b"] | None = None
    mirror: bool = False
    maybe: bool | None = None
    prompt: str = "x"
    seed: int | None = None
    weights: list[tuple[str, float]] = []
    either: str | list[str] = "x"
    needed: int


@pytest.fixture
def fields() -> dict[str, ParamField]:
    return {field.name: field for field in read_fields(Params.model_json_schema())}


def test_kinds_and_order(fields: dict[str, ParamField]) -> None:
    assert {name: field.kind for name, field in fields.items()} == {
        "strength": "number",
        "radius": "integer",
        "gain": "number",
        "width": "integer",
        "mode": "choice",
        "kind": "choice",
        "mirror": "boolean",
        "maybe": "choice",
        "prompt": "text",
        "seed": "integer",
        "weights": "json",
        "either": "json",
        "needed": "integer",
    }
    assert list(fields) == list(Params.model_fields)


def test_bounds_defaults_and_help(fields: dict[str, ParamField]) -> None:
    strength = fields["strength"]
    assert (strength.minimum, strength.maximum, strength.default, strength.help) == (0, 1, 0.5, "How much of it.")
    assert strength.range_text == "0 – 1"
    assert fields["gain"].range_text == "> 0"
    assert fields["mode"].choices == ("soft", "hard")
    assert fields["kind"].choices == ("a", "b")
    assert fields["kind"].nullable
    assert fields["seed"].nullable
    assert not fields["needed"].has_default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("strength", "0.25", 0.25),
        ("strength", " 1e-1 ", 0.1),
        ("radius", "7", 7),
        ("seed", "", None),
        ("prompt", " kept as it is ", " kept as it is "),
        ("weights", '[["a", 1]]', [["a", 1]]),
    ],
)
def test_reading(fields: dict[str, ParamField], name: str, text: str, value: Any) -> None:
    assert fields[name].read(text) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("strength", "abc", "a number is needed, got 'abc'"),
        ("strength", "", "a number is needed"),
        ("strength", "nan", "a number is needed, got 'nan'"),
        ("strength", "1.5", "must be at most 1"),
        ("gain", "0", "must be above 0"),
        ("radius", "2.5", "a whole number is needed, got '2.5'"),
        ("width", "100", "must be a multiple of 64"),
        ("weights", "[1,", "not JSON"),
    ],
)
def test_refusals_say_why(fields: dict[str, ParamField], name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason.replace("(", r"\(")):
        fields[name].read(text)


@pytest.mark.parametrize(
    ("name", "value", "steps", "expected"),
    [
        ("strength", 0.5, 1, 0.51),
        ("strength", 0.5, -10, 0.4),
        ("strength", 1.0, 1, 1.0),
        ("radius", 5, 1, 6),
        ("radius", 1, -1, 1),
        ("width", 512, 1, 576),
        ("gain", 0.1, -5, 0.1),
        ("seed", None, 1, 1),
    ],
)
def test_steps(fields: dict[str, ParamField], name: str, value: Any, steps: int, expected: Any) -> None:
    stepped = fields[name].stepped(value, steps)
    assert stepped == pytest.approx(expected)
    assert isinstance(stepped, type(expected))


@pytest.mark.parametrize("value", [0.5, 0.1 + 0.2, 1e-7, 123456.789, 3.0e9])
def test_numbers_survive_the_form(fields: dict[str, ParamField], value: float) -> None:
    gain = fields["gain"]
    assert gain.read(gain.show(value)) == pytest.approx(value, rel=1e-5)


def test_an_empty_schema_has_no_fields() -> None:
    assert read_fields({}) == ()

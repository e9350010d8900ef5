"""Fields of a params class, read from its JSON schema: what a form needs to show and check them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

FieldKind = Literal["integer", "number", "boolean", "choice", "text", "json"]

_STEPS = 100  # from one end of a number's range to the other
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class ParamField:
    """One parameter.

    Attributes:
        name: as the params class spells it. title: for people. help: the field's description.
        default: its default, or None. has_default: whether there is one.
        minimum, maximum: bounds of a number, None for none; `exclusive_*`: the bound itself is not allowed.
        multiple_of: the number must be a multiple of it.
        choices: the values to choose from. nullable: None is allowed (an empty text in the form).
    """

    name: str
    kind: FieldKind
    title: str = ""
    help: str = ""
    default: Any = None
    has_default: bool = False
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    choices: tuple[Any, ...] = ()
    nullable: bool = False

    @property
    def bounded(self) -> bool:
        """Whether it is a number with both ends, which a slider can show."""
        return self.kind in ("integer", "number") and self.minimum is not None and self.maximum is not None

    @property
    def range_text(self) -> str:
        """``0 – 1``, ``≥ 0``, ``≤ 10`` or nothing."""
        low, high = self.minimum, self.maximum
        if low is not None and high is not None:
            return f"{'>' if self.exclusive_minimum else ''}{low:g} – {'<' if self.exclusive_maximum else ''}{high:g}"
        if low is not None:
            return f"{'>' if self.exclusive_minimum else '≥'} {low:g}"
        if high is not None:
            return f"{'<' if self.exclusive_maximum else '≤'} {high:g}"
        return ""

    @property
    def step(self) -> float:
        """What one press of an arrow key changes: a hundredth of the range, rounded to 1, 2 or 5."""
        whole = self.kind == "integer"
        if self.multiple_of:
            return self.multiple_of
        if not self.bounded:
            return 1 if whole else 0.1
        assert self.minimum is not None
        assert self.maximum is not None
        rough = (self.maximum - self.minimum) / _STEPS
        if rough <= 0:
            return 1
        power = 10.0 ** math.floor(math.log10(rough))
        nice = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        return max(1, round(nice)) if whole else nice

    def show(self, value: Any) -> str:
        """A value as the text that `read` would turn back into it."""
        if value is None:
            return ""
        if self.kind == "json":
            return json.dumps(value, ensure_ascii=False)
        if self.kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"{float(value):.6g}" if abs(value) < 1e6 else repr(float(value))
        return str(value)

    def read(self, text: str) -> Any:
        """The value that was typed.

        Raises:
            ValueError: it is none; the text of the error is the reason to show.
        """
        text = text if self.kind == "text" else text.strip()
        if not text and self.nullable:
            return None
        if self.kind in ("integer", "number"):
            return self._checked(self._number(text))
        if self.kind == "json":
            try:
                return json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
        return text

    def stepped(self, value: Any, steps: float) -> Any:
        """`value` moved by so many steps, kept inside the bounds and on the grid of steps."""
        step = self.step
        number = float(value) if isinstance(value, (int, float)) else self.minimum or 0.0
        return self.nearest((round(number / step) + steps) * step)

    def nearest(self, number: float) -> Any:
        """The allowed value nearest to `number`, on the grid of steps."""
        step = self.step
        number = round(number / step) * step
        if self.minimum is not None:
            number = max(number, self.minimum + step * self.exclusive_minimum)
        if self.maximum is not None:
            number = min(number, self.maximum - step * self.exclusive_maximum)
        return round(number) if self.kind == "integer" else round(number, 10)

    def _number(self, text: str) -> float:
        noun = "a whole number" if self.kind == "integer" else "a number"
        try:
            number = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            raise ValueError(f"{noun} is needed, got '{text}'" if text else f"{noun} is needed") from None
        if not math.isfinite(number):
            raise ValueError(f"{noun} is needed, got '{text}'")
        return number

    def _checked(self, number: float) -> float:
        if self.minimum is not None and (number < self.minimum or (self.exclusive_minimum and number == self.minimum)):
            raise ValueError(f"must be {'above' if self.exclusive_minimum else 'at least'} {self.minimum:g}")
        if self.maximum is not None and (number > self.maximum or (self.exclusive_maximum and number == self.maximum)):
            raise ValueError(f"must be {'below' if self.exclusive_maximum else 'at most'} {self.maximum:g}")
        if self.multiple_of and not math.isclose(number / self.multiple_of, round(number / self.multiple_of)):
            raise ValueError(f"must be a multiple of {self.multiple_of:g}")
        return number


def read_fields(schema: dict[str, Any]) -> tuple[ParamField, ...]:
    """The fields of a params class, in its order, from ``model_json_schema()``."""
    definitions = schema.get("$defs", {})
    properties: dict[str, Any] = schema.get("properties", {})
    return tuple(_field(name, _resolved(part, definitions)) for name, part in properties.items())


def _resolved(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A property with its references filled in and ``X | None`` reduced to X with ``nullable``."""
    if "$ref" in part:
        target = definitions.get(str(part["$ref"]).rpartition("/")[2], {})
        return _resolved({**target, **{key: value for key, value in part.items() if key != "$ref"}}, definitions)
    if len(part.get("allOf", ())) == 1:
        return _resolved({**part["allOf"][0], **_without(part, "allOf")}, definitions)
    if "anyOf" in part:
        options = [option for option in part["anyOf"] if option.get("type") != "null"]
        nullable = len(options) < len(part["anyOf"])
        if len(options) == 1:
            inner = _resolved({**options[0], **_without(part, "anyOf")}, definitions)
            return {**inner, "nullable": nullable or inner.get("nullable", False)}
        return {**_without(part, "anyOf"), "nullable": nullable}
    return part


def _without(part: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != key}


def _field(name: str, part: dict[str, Any]) -> ParamField:
    low, high = part.get("minimum"), part.get("maximum")
    above, below = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    default = part.get("default", _MISSING)
    return ParamField(
        name=name,
        kind=_kind(part),
        title=str(part.get("title") or name),
        help=" ".join(str(part.get("description", "")).split()),
        default=None if default is _MISSING else default,
        has_default=default is not _MISSING,
        minimum=above if low is None else low,
        maximum=below if high is None else high,
        exclusive_minimum=low is None and above is not None,
        exclusive_maximum=high is None and below is not None,
        multiple_of=part.get("multipleOf"),
        choices=_choices(part),
        nullable=bool(part.get("nullable", False)),
    )


def _choices(part: dict[str, Any]) -> tuple[Any, ...]:
    if "const" in part:
        return (part["const"],)
    if part.get("type") == "boolean" and part.get("nullable"):
        return (True, False)
    return tuple(choice for choice in part.get("enum", ()) if choice is not None)


def _kind(part: dict[str, Any]) -> FieldKind:
    if _choices(part):
        return "choice"
    kinds: dict[str, FieldKind] = {
        "integer": "integer",
        "number": "number",
        "boolean": "boolean",
        "string": "text",
    }
    return kinds.get(str(part.get("type", "")), "json")

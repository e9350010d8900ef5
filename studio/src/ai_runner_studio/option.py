"""Option: one setting that a flag, an environment variable and a key in pyproject.toml all share.

The table `OPTIONS` is the only list of them: a flag ``--preview-fps`` is the key ``preview-fps`` and the
variable ``AI_RUNNER_STUDIO_PREVIEW_FPS``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "path", "texts", "functions", "yes-no", "number", "count", "table"]

ENVIRONMENT_PREFIX = "AI_RUNNER_STUDIO_"
PREVIEW_MODES = ("auto", "kitty", "sixel", "blocks", "text")
REPLACE_WAYS = ("auto", "overlap", "hand-over")
ROUTES = ("direct", "trickle")
HARDWARE_USE = ("auto", "hardware", "software")

KIND_IN_WORDS: dict[Kind, str] = {
    "text": "a string",
    "path": "a path, as a string",
    "texts": "a list of strings",
    "functions": "a list of functions, each as module:Class.method",
    "yes-no": "true or false",
    "number": "a number",
    "count": "a whole number",
    "table": "a table of names and values",
}


@dataclass(frozen=True, slots=True)
class Option:
    """What values a setting takes.

    Attributes:
        name: kebab-case, as in the flag and the key.
        kind: type of the value; ``number`` and ``count`` must be above 0.
        choices: the only values allowed, where there is such a list.
        zero: a number may be 0 too, which then means that there is no limit.
        in_file: whether pyproject.toml may give it.
    """

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()
    zero: bool = False
    in_file: bool = True

    @property
    def field(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that gives it."""
        return ENVIRONMENT_PREFIX + self.field.upper()

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        least = " above 0" if self.kind in ("number", "count") else ""
        return KIND_IN_WORDS[self.kind] + least + (", or 0 for no limit" if self.zero else "")

    def check(self, value: Any) -> Any:
        """The value, if it is of the right type and allowed.

        Raises:
            ValueError: it is not; the message is empty, `allowed` says the rest.
        """
        if not _FITS[self.kind](value):
            raise ValueError
        if self.choices and value not in self.choices:
            raise ValueError
        if self.kind in ("number", "count") and not (value > 0 or (self.zero and value == 0)):
            raise ValueError
        return value

    def parse(self, text: str) -> Any:
        """The value that the text of an environment variable stands for.

        Raises:
            ValueError: the text stands for none that is allowed.
        """
        return self.check(_PARSERS[self.kind](text))


def _is_function(value: Any) -> bool:
    """Whether it is the path of a function, by its form: ``module:Class.method``."""
    module, _, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    return all(part.isidentifier() for name in (module, path) for part in name.split("."))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FITS: dict[Kind, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "path": lambda value: isinstance(value, str),
    "texts": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "functions": lambda value: isinstance(value, list) and all(map(_is_function, value)),
    "yes-no": lambda value: isinstance(value, bool),
    "number": _is_number,
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "table": lambda value: isinstance(value, dict),
}

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def _parse_yes_no(text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES + _NO:
        raise ValueError
    return word in _YES


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    "text": str,
    "path": str,
    "texts": lambda text: [item for item in text.split(os.pathsep) if item],
    "functions": lambda text: [item.strip() for item in text.split(",") if item.strip()],
    "yes-no": _parse_yes_no,
    "number": float,
    "count": int,
    "table": json.loads,
}

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("pipeline-import", "text"),
        Option("params-import", "text"),
        Option("params", "table"),
        Option("params-file", "path"),
        Option("input", "text"),
        Option("output", "path"),
        Option("project", "path", in_file=False),  # it says where to look for the file
        Option("python", "path"),
        Option("watch", "texts"),
        Option("reload", "yes-no"),
        Option("keep-weights", "yes-no"),
        Option("standby", "yes-no"),
        Option("in-place", "functions"),
        Option("standby-reserve", "count"),
        Option("replace", "text", REPLACE_WAYS),
        Option("preview", "text", PREVIEW_MODES),
        Option("preview-fps", "number"),
        Option("theme", "text"),
        Option("loop", "yes-no"),
        Option("load-timeout", "number"),
        Option("route", "text", ROUTES),
        Option("max-fps", "number", zero=True),
        Option("hardware", "text", HARDWARE_USE),
        Option("realtime", "yes-no"),
        Option("strict", "yes-no"),
        Option("frames", "count"),
        Option("duration", "number"),
        Option("image", "table"),
        Option("json", "yes-no"),
        Option("verbose", "yes-no"),
    )
}

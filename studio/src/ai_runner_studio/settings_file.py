"""The project's own settings: ``[tool.ai-runner-studio]`` in the nearest pyproject.toml that has it."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .option import OPTIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = "ai-runner-studio"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What a pyproject.toml says.

    Attributes:
        path: the file.
        values: option's name -> value, checked.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)


def find_settings_file(start: Path) -> SettingsFile | None:
    """The settings of the nearest pyproject.toml, from `start` upward, that has our table.

    Raises:
        SettingsError: a file on the way cannot be read, is not TOML, or the table has a wrong key or value.
    """
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            text = _read(path)
            table = _table(path, text)
            if table is not None:
                return SettingsFile(path, _checked(path, text, table))
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start})", "TOML files must be UTF-8") from error


def _table(path: Path, text: str) -> dict[str, Any] | None:
    try:
        tools = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", "correct that line, then start again") from error
    table = tools.get(TABLE) if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{path}: tool.{TABLE} must be a table", f"write [tool.{TABLE}] on a line of its own")
    return table


def _checked(path: Path, text: str, table: dict[str, Any]) -> dict[str, Any]:
    allowed = [option.name for option in OPTIONS.values() if option.in_file]
    for key, value in table.items():
        place = f"{path}{_line_of(text, key)}"
        if key not in allowed:
            raise SettingsError(f"{place}: [tool.{TABLE}] has no key '{key}'", nearest(key, allowed))
        try:
            OPTIONS[key].check(value)
        except ValueError as error:
            raise SettingsError(
                f"{place}: '{key}' in [tool.{TABLE}] is {value!r}", f"it must be {OPTIONS[key].allowed}"
            ) from error
    return dict(table)


def nearest(key: str, allowed: list[str]) -> str:
    """What a wrong key may have been meant for, and all that there are."""
    near = difflib.get_close_matches(key.replace("_", "-").lower(), allowed, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + "allowed: " + ", ".join(allowed)


def _line_of(text: str, key: str) -> str:
    """``:12`` where the key stands on line 12 of our table; empty where it is written in some other way."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            name = header.group(1)
            inside = name == f"tool.{TABLE}"
            if name == f"tool.{TABLE}.{key}":
                return f":{number}"
        elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return f":{number}"
    return ""

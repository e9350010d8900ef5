"""Values that user code has a part in, made safe to send: plain built-in types, valid Unicode, readable JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

# C0 but tab and line feed, DEL, C1, line separators, bidirectional overrides, surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
DEEPEST = 100  # levels of nesting that readers of JSON can be trusted with


def plain_json(value: Any, indent: int | None = None) -> bytes:
    """Return `value` as JSON in ASCII: NaN and infinity, for which JSON has no name, as null, other objects as text."""
    return _dumps(value, lambda _number: None, indent).encode("ascii")


def readable_json(value: Any) -> str:
    """Return `value` as JSON in ASCII that pydantic reads back: NaN and infinity as text, such as ``"-Infinity"``."""
    return _dumps(value, lambda number: json.dumps(number), None)


def _dumps(value: Any, rename: Callable[[float], str | None], indent: int | None) -> str:
    plain_value = plain(value)
    try:
        return json.dumps(plain_value, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_renamed(plain_value, rename), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """Return a copy of `value` made of built-in types alone; never fails.

    Text is `plain_text`, a dataclass becomes a dict. Objects of other types, integers too long for `str`, and what is
    nested deeper than `DEEPEST` become text.
    """
    return _plain(value, 0)


def _plain(value: Any, level: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return _plain_int(value)
    if level < DEEPEST and isinstance(value, dict):
        return {plain_text(name): _plain(item, level + 1) for name, item in value.items()}
    if level < DEEPEST and isinstance(value, (list, tuple)):
        return [_plain(item, level + 1) for item in value]
    if level < DEEPEST and is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), level + 1) for field in fields(value)}
    return plain_text(value)


def _plain_int(value: int) -> int | str:
    """An integer of thousands of digits has no decimal form (`sys.set_int_max_str_digits`)."""
    return int(value) if value.bit_length() < 1024 else hex(value)


def plain_text(value: object) -> str:
    """Return `value` as text that is valid Unicode; never fails.

    Lone surrogates, which stand for bytes of file names that are not UTF-8, become escapes such as ``\\udce9``. The
    result is a plain `str` also where `value` is of a subclass of it, which another process could not unpickle.
    """
    try:
        text = value if isinstance(value, str) else str(value)
        return str.encode(text, "utf-8", "backslashreplace").decode()
    except BaseException as error:  # of __str__, which is user code
        names = f"<{type(value).__name__}: __str__ raised {type(error).__name__}>"
        return names.encode("utf-8", "backslashreplace").decode()


def bounded_text(value: object, limit: int) -> str:
    """Return `value` as `plain_text` of at most `limit` characters and a note: its start, and more of its end."""
    if type(value) is str:
        return plain_text(_cut(value, limit))
    return _cut(plain_text(value), limit)


def visible(text: str) -> str:
    r"""Return `text` with control characters as Python writes them: ``\x1b[2J``. Tabs and line feeds stay."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = limit // 4
    return f"{text[:head]}\n... {len(text) - limit} characters omitted ...\n{text[head - limit :]}"


def _renamed(value: Any, rename: Callable[[float], str | None]) -> Any:
    """Return a copy with `rename` applied to each NaN and infinity."""
    if isinstance(value, dict):
        return {name: _renamed(item, rename) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    return rename(value) if isinstance(value, float) and not math.isfinite(value) else value

"""FileDifference: what is different in one file, as a unified diff."""

from __future__ import annotations

import difflib
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# A diff of larger texts takes seconds, and nobody reads it.
LARGEST_COMPARED_BYTES = 512 * 1024

# A terminal would obey what follows an escape.
_NOT_TEXT = re.compile("[\x00\x1b]")


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file held.

    Attributes:
        digest: SHA-256 of it, in hexadecimal.
        size_bytes: how much it was.
        text: None where it cannot be shown; `hidden` says why.
    """

    digest: str
    size_bytes: int
    text: str | None
    hidden: Literal["", "binary", "too large to compare", "no longer kept"] = ""

    @classmethod
    def read(cls, path: Path, content: bytes, digest: str) -> FileContent:
        """Args: path: says by its suffix how the content is encoded; the disk is not looked at."""
        if len(content) > LARGEST_COMPARED_BYTES:
            return cls(digest, len(content), None, "too large to compare")
        text = _decode(path, content)
        return cls(digest, len(content), text, "binary" if text is None else "")


@dataclass(frozen=True, slots=True)
class FileDifference:
    """What is different in one file.

    Attributes:
        path: from the project's folder, absolute for files outside it.
        change: whether both states have the file, only the later one, or only the earlier one.
        lines: a unified diff of the whole file, with line ends and the two lines of names; where it
            cannot be shown, one line that says why.
    """

    path: Path
    change: Literal["changed", "added", "removed"]
    lines: tuple[str, ...]


def compare(
    path: Path, old: FileContent | None, new: FileContent | None, names: tuple[str, str]
) -> FileDifference | None:
    """The difference between two contents of one file; None if they are the same.

    Args:
        old, new: None where there is no such file.
        names: of the two states, for the head of the diff.
    """
    if (old and old.digest) == (new and new.digest):
        return None
    change: Literal["changed", "added", "removed"] = "changed" if old and new else "added" if new else "removed"
    return FileDifference(path, change, _lines(path, old, new, names))


def _lines(path: Path, old: FileContent | None, new: FileContent | None, names: tuple[str, str]) -> tuple[str, ...]:
    sides = [side for side in (old, new) if side is not None]
    hidden = [side.hidden for side in sides if side.hidden]
    if hidden:
        sizes = " → ".join(f"{side.size_bytes:,}" for side in sides)
        return (f"{hidden[-1]}, {sizes} bytes\n",)
    if not any(side.size_bytes for side in sides):
        return ("empty\n",)
    diff = difflib.unified_diff(
        _split(old),
        _split(new),
        fromfile=str(path) if old else "/dev/null",
        tofile=str(path) if new else "/dev/null",
        fromfiledate=names[0],
        tofiledate=names[1],
    )
    return tuple(_ended(diff))


def _split(content: FileContent | None) -> list[str]:
    """Lines with their ends; only a line feed ends one."""
    return list(io.StringIO(content.text, newline="\n")) if content is not None and content.text else []


def _ended(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if line.endswith("\n"):
            yield line
        else:
            yield f"{line}\n"
            yield "\\ No newline at end of file\n"


def _decode(path: Path, content: bytes) -> str | None:
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0] if path.suffix == ".py" else "utf-8"
        text = content.decode(encoding)
    except (SyntaxError, ValueError):
        return None
    return None if _NOT_TEXT.search(text) else text

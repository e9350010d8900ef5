"""Steps: Dockerfile lines that a project adds, of kinds that every builder takes and that keep the image whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError

ALLOWED = ("RUN", "ENV", "LABEL")
# What old builders refuse, take from the cache by mistake, or write into the user's folder with.
_REFUSED = (
    (r"<<-?['\"]?\w+", "a here-document, which not every builder knows"),
    (r"--network\b|--security\b", "a flag of RUN that not every builder knows"),
    (r"--mount=\S*\bfrom=", "a mount from another stage, which fails when that stage comes from a cache"),
    (r"--mount=\S*\b(rw|readwrite)\b", "a mount that can be written to: some builders write into the context"),
    (r"--mount=(?!\S*type=secret)", "a mount that is no secret: it would not count when a builder looks for changes"),
)


def read_steps(path: Path) -> list[str]:
    """Lines of a file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--dockerfile-append {path} cannot be read: {getattr(error, 'strerror', error)}") from error


def checked_steps(lines: list[str], name: str) -> tuple[str, ...]:
    """The lines without comments and empty ones.

    Args:
        name: what they come from, for messages.

    Raises:
        UsageError: an instruction is none of `ALLOWED`, or needs what some builders lack.
    """
    kept = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for instruction in _instructions(kept):
        word = instruction.split(None, 1)[0]
        if word.upper() not in ALLOWED:
            raise UsageError(
                f"{name}: '{word}' cannot be added to the image's Dockerfile",
                f"only {', '.join(ALLOWED)} can; the rest is decided by the plan: base image, user, files, command",
            )
        for pattern, why in _REFUSED:
            if re.search(pattern, instruction):
                raise UsageError(f"{name}: '{instruction[:60]}' has {why}", "say it with plain commands")
    return tuple(kept)


def _instructions(lines: list[str]) -> Iterator[str]:
    """Whole instructions: lines that end in a backslash joined with the next."""
    whole = ""
    for line in lines:
        whole += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield whole
            whole = ""
    if whole:
        yield whole

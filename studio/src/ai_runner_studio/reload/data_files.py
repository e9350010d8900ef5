"""DataFiles: what the files of ``--watch`` held when each good revision came up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.live.code.store import digest_of
from runner.live.process.policy import REVISIONS_KEPT

from .file_difference import FileContent
from .fingerprint import LARGEST_HASHED_BYTES
from .watch_pattern import WatchPattern

MOST_KEPT_BYTES = 16 * 1024 * 1024  # of texts, over all revisions

_Stamp = tuple[int, int, int]


class DataFiles:
    """Remembers texts, and of everything else the digest. It stays in memory: such files are prompts and tables."""

    def __init__(self, project: Path, patterns: Sequence[str] = ()) -> None:
        """Args: patterns: as given by ``--watch``."""
        self._patterns = [WatchPattern.parse(text, project) for text in patterns]
        self._seen: dict[str, tuple[_Stamp, FileContent]] = {}
        self._kept: dict[int, Mapping[str, FileContent]] = {}

    def look(self) -> dict[str, FileContent]:
        """What they hold now, by absolute path; those above 8 MiB are left out. Reads the disk, in any thread."""
        paths = {os.path.abspath(path) for pattern in self._patterns for path in pattern.find().files}
        before, seen = self._seen, {}
        for path in sorted(paths):
            found = _look_at(path, before.get(path))
            if found is not None:
                seen[path] = found
        self._seen = seen
        return {path: content for path, (_, content) in seen.items()}

    def keep(self, revision: int, held: Mapping[str, FileContent]) -> None:
        """Remember that this revision came up with these. The oldest are forgotten when it gets too much."""
        self._kept[revision] = _bounded(held)
        while len(self._kept) > REVISIONS_KEPT or (len(self._kept) > 1 and self._text_bytes() > MOST_KEPT_BYTES):
            del self._kept[min(self._kept)]

    def forget(self, revision: int) -> None:
        """It was not good after all."""
        self._kept.pop(revision, None)

    def clear(self) -> None:
        """Forget all revisions."""
        self._kept.clear()

    def of(self, revision: int) -> Mapping[str, FileContent] | None:
        """What they held when this revision came up; None if that is not known."""
        return self._kept.get(revision)

    def _text_bytes(self) -> int:
        contents = {content.digest: content for held in self._kept.values() for content in held.values()}
        return sum(content.size_bytes for content in contents.values() if content.text is not None)


def _look_at(path: str, known: tuple[_Stamp, FileContent] | None) -> tuple[_Stamp, FileContent] | None:
    try:
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        if known is not None and known[0] == stamp:
            return known
        if status.st_size > LARGEST_HASHED_BYTES:
            return None
        content = Path(path).read_bytes()
    except OSError:
        return None
    return stamp, FileContent.read(Path(path), content, digest_of(content))


def _bounded(held: Mapping[str, FileContent]) -> Mapping[str, FileContent]:
    """The same, without the texts of what is too much for one revision."""
    kept: dict[str, FileContent] = {}
    left = MOST_KEPT_BYTES
    for path, content in held.items():
        left -= content.size_bytes if content.text is not None else 0
        kept[path] = content if left >= 0 else replace(content, text=None, hidden="no longer kept")
    return kept

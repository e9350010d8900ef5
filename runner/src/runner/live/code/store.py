"""SnapshotStore: contents of source files, each kept once under its digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..running import is_running

_PART = ".part-"  # then the writer's process id: a temporary file of a write under way


class SnapshotMissing(KeyError):
    """The store has no intact content of that digest."""

    def __str__(self) -> str:
        return str(self.args[0])


def digest_of(content: bytes) -> str:
    """The name of a content: SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class SnapshotStore:
    """A folder of contents. Several processes may write to it at the same time.

    A content is complete or not there: it is written beside its place and then renamed. It is not
    forced to the disk, since a snapshot is of no use after the run that made it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep a content; its digest.

        Raises:
            OSError: it cannot be written (disk full, folder gone); nothing of it is left behind.
        """
        digest = digest_of(content)
        if self._read(digest) == content:
            return digest
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=f"{_PART}{os.getpid()}-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(part, self._folder / digest)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return digest

    def get(self, digest: str) -> bytes:
        """The content of that digest.

        Raises:
            SnapshotMissing: it was never kept, has been pruned, or is damaged.
        """
        content = self._read(digest)
        if content is None:
            raise SnapshotMissing(f"no snapshot {digest[:12]} in {self._folder}")
        if digest_of(content) != digest:
            raise SnapshotMissing(f"snapshot {digest[:12]} in {self._folder} is damaged")
        return content

    def prune(self, keep: Iterable[str]) -> int:
        """Remove every content but these; how many were removed."""
        kept = frozenset(keep)
        return sum(_remove(path) for path in self._paths() if _is_content(path) and path.name not in kept)

    def sweep(self) -> int:
        """Remove what writers that were killed have left half written; how many files."""
        return sum(_remove(path) for path in self._paths() if _is_part(path) and not is_running(_writer(path)))

    def _read(self, digest: str) -> bytes | None:
        try:
            return (self._folder / digest).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []


def _is_content(path: Path) -> bool:
    """Whether it is ours: the folder was named by the user, and may have other things in it."""
    return len(path.name) == 64 and not set(path.name) - set("0123456789abcdef")


def _is_part(path: Path) -> bool:
    return path.name.startswith(_PART)


def _writer(path: Path) -> int:
    pid = path.name.removeprefix(_PART).partition("-")[0]
    return int(pid) if pid.isdigit() else 0


def _remove(path: Path) -> bool:
    """Whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:  # somebody else was quicker
        return False
    return True

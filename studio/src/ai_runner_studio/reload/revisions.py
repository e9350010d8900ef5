"""Revisions: what is different between the good revisions of a run, and between them and the disk.

The user's files are only read. The code of a revision is in the store that the host keeps; what the
watched files that are not imported held is remembered in `DataFiles`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.live.code.store import SnapshotMissing, SnapshotStore, digest_of

from ..errors import StudioError
from ..snapshot import Load
from .data_files import DataFiles
from .file_difference import FileContent, FileDifference, compare

__all__ = ["FileDifference", "Revisions"]


class Revisions:
    """The good revisions of one host."""

    def __init__(self, project: Path, patterns: Sequence[str] = ()) -> None:
        """Args: project: paths are shown from there. patterns: as given by ``--watch``."""
        self._data = DataFiles(project, patterns)
        self._project = Path(os.path.abspath(project))
        self._store: SnapshotStore | None = None

    def begin(self, store: Path) -> None:
        """A new host has been started, which keeps code in this folder. Earlier revisions are gone."""
        self._store = SnapshotStore(store)
        self._data.clear()

    async def remember_data(self, revision: int, restored: Load | None) -> list[str]:
        """Look at the data files that this revision has come up with.

        Returns:
            Names of those that do not hold what they held for `restored`, the revision whose code it is.
        """
        store = self._store
        held = await asyncio.to_thread(self._data.look)
        if self._store is not store:
            return []  # of a host that is gone
        self._data.keep(revision, held)
        return self._changed_data(restored, held) if restored is not None else []

    def forget_data(self, revision: int) -> None:
        """This revision was not good after all."""
        self._data.forget(revision)

    def between(self, old: Load, new: Load) -> list[FileDifference]:
        """What is different in `new`, sorted by path.

        Raises:
            StudioError: the code of one of them is no longer kept.
        """
        return self._compare({*old.sources, *new.sources}, self._kept(old), self._kept(new))

    def against_disk(self, old: Load, newest: Load, imported: Iterable[str]) -> list[FileDifference]:
        """What is different on disk now, sorted by path.

        Args:
            newest: the newest good revision that was loaded from disk: `old` may not have all of its files.
            imported: what the pipeline process was last said to import, also in a load that failed.

        Raises:
            StudioError: the code of `old` is no longer kept.
        """
        # What has not changed since is not new: it was imported late, or not from source.
        added = {path for path in imported if _changed_at(path) > old.started_at}
        kept = self._kept(old)
        disk = _Disk(self._data.look() if kept.data is not None else None)
        return self._compare({*old.sources, *newest.sources, *added}, kept, disk)

    def _changed_data(self, load: Load, now: Mapping[str, FileContent]) -> list[str]:
        then = self._data.of(load.revision)
        if then is None:
            return []
        paths = {path for path in {*then, *now} - set(load.sources) if _digest(then, path) != _digest(now, path)}
        return sorted(str(self._shown(path)) for path in paths)

    def _kept(self, load: Load) -> _Kept:
        if self._store is None or not load.can_return:
            raise StudioError(f"the code of revision {load.revision} is not kept")
        return _Kept(load, self._store, self._data.of(load.revision))

    def _compare(self, code: set[str], old: _Side, new: _Side) -> list[FileDifference]:
        data = {*old.data, *new.data} if old.data is not None and new.data is not None else set()
        names = old.name, new.name
        found = [
            compare(self._shown(path), old.content(path), new.content(path), names) for path in sorted(code | data)
        ]
        return sorted(filter(None, found), key=lambda difference: difference.path)

    def _shown(self, path: str) -> Path:
        shown = Path(path)
        return shown.relative_to(self._project) if shown.is_relative_to(self._project) else shown


class _Side(Protocol):
    """One of two states that are compared. `data`: of data files, None where they were not looked at."""

    @property
    def name(self) -> str: ...

    @property
    def data(self) -> Mapping[str, FileContent] | None: ...

    def content(self, path: str) -> FileContent | None: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """A good revision."""

    load: Load
    store: SnapshotStore
    data: Mapping[str, FileContent] | None

    @property
    def name(self) -> str:
        return f"revision {self.load.revision}"

    def content(self, path: str) -> FileContent | None:
        digest = self.load.sources.get(path)
        if digest is None:
            return self.data.get(path) if self.data is not None else None
        try:
            return FileContent.read(Path(path), self.store.get(digest), digest)
        except (SnapshotMissing, OSError) as error:
            raise StudioError(f"the code of revision {self.load.revision} is no longer kept: {error}") from error


@dataclass(frozen=True, slots=True)
class _Disk:
    """What is on disk now."""

    data: Mapping[str, FileContent] | None
    name: str = "on disk"

    def content(self, path: str) -> FileContent | None:
        if self.data is not None and path in self.data:
            return self.data[path]
        try:
            content = Path(path).read_bytes()
        except OSError:
            return None
        return FileContent.read(Path(path), content, digest_of(content))


def _digest(held: Mapping[str, FileContent], path: str) -> str | None:
    return held[path].digest if path in held else None


def _changed_at(path: str) -> float:
    """When a file was written or renamed, in seconds since the epoch; 0 if it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)

"""Snapshots: the sources of the latest good revisions, so that each of them can be loaded again."""

from __future__ import annotations

import logging
from pathlib import Path

from ..code.source import SourceFile
from ..code.store import SnapshotStore
from .policy import REVISIONS_KEPT


class Snapshots:
    """What good revisions were loaded from. The contents are in the store, put there by the pipeline process."""

    def __init__(self, folder: Path | None) -> None:
        """Args: folder: of the store; None keeps nothing."""
        self.folder = str(folder) if folder is not None else ""
        self._store = SnapshotStore(folder) if folder is not None else None
        self._kept: dict[int, tuple[SourceFile, ...]] = {}

    def keep(self, revision: int, files: tuple[SourceFile, ...]) -> None:
        """This revision was good. Keeps its sources, and lets go of the oldest beyond `REVISIONS_KEPT`."""
        if self._store is None or not files:
            return
        self._kept[revision] = files
        if len(self._kept) > REVISIONS_KEPT:
            del self._kept[min(self._kept)]
            try:
                self._store.prune({file.digest for kept in self._kept.values() for file in kept})
            except OSError as error:
                logging.warning("old snapshots are still there: %s", error)

    def forget(self, revision: int) -> None:
        """It was not good after all."""
        self._kept.pop(revision, None)

    def get(self, revision: int) -> tuple[SourceFile, ...]:
        """The sources of a revision; empty if none are kept."""
        return self._kept.get(revision, ())

    def latest(self, before: int | None = None) -> int | None:
        """The newest good revision (before that one); None if there is none."""
        numbers = [number for number in self._kept if before is None or number < before]
        return max(numbers, default=None)

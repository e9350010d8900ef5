"""Watcher: which of the pipeline's files have been saved with another content.

It yields sets of changed files and does nothing else; what follows from a change is the session's matter.
The file system's events only wake it: what counts is whether the content differs from what it was, so a
touch, an editor's rename and a watch that had to be set anew are all the same to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .fingerprint import Fingerprints
from .folder_events import FolderEvents
from .watch_pattern import MOST_FILES, MOST_FOLDERS, WatchPattern

LOOK_EVERY_S = 1.0  # without an event: also finds what a file system did not report
POLL_EVERY_S = 0.3
MISSED_BEFORE_POLLING = 2
QUIET_S = 0.02  # after one changed file
QUIET_MANY_S = 0.1  # after several: a checkout goes on for a while
LONGEST_BURST_S = 1.0
SETTLE_S = 0.2  # for a file that is gone or empty to come back

_Identity = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class _Woken:
    """Why there is something to look at. `touched`: paths that the file system has named."""

    reason: Literal["event", "time", "asked to", "changes may have been missed"]
    touched: set[str] = field(default_factory=set)


class Watcher:
    """Watches a changing set of files: ``async for changed in watcher: ...`` gives sets of paths.

    One reader, one event loop. The iteration ends after `close`; a watch that fails turns into polling
    and never ends it.
    """

    def __init__(
        self, project: Path, patterns: Sequence[str] = (), notice: Callable[[str], None] | None = None
    ) -> None:
        """Args: patterns: as given by ``--watch``. notice: gets a sentence for the user now and then."""
        self._project = project
        self._patterns = [WatchPattern.parse(text, project) for text in patterns]
        self._notice = notice or (lambda _sentence: None)
        self._imported: set[Path] = set()
        self._whole_project = False
        self._fingerprints = Fingerprints()
        self._pattern_folders: set[Path] = set()
        self._folders: set[Path] = set()
        self._events: FolderEvents | None = None
        self._watched: frozenset[_Identity] = frozenset()
        self._polling = False
        self._missed = 0
        self._cut_said = False
        self._wake = asyncio.Event()
        self._closed = False
        self._find_files()

    @property
    def watching(self) -> int:
        """How many files a save of which is reported."""
        return len(self._fingerprints)

    @property
    def polling(self) -> bool:
        """Whether the file system is looked at regularly because it gives no events."""
        return self._polling

    def watch_files(self, files: Iterable[Path], loaded_at: float | None = None) -> None:
        """Watch exactly these files, and those of the patterns.

        Args:
            files: absolute paths of what the pipeline process has imported.
            loaded_at: when that process began to import (seconds since the epoch): what was saved after
                that, before it was watched, is reported. None: what is there now counts as known.
        """
        self._imported = {Path(os.path.abspath(file)) for file in files}
        self._find_files(loaded_at)
        self._wake.set()

    def watch_project(self, on: bool, loaded_at: float | None = None) -> None:
        """Watch all Python files of the project too: after a first load that failed, the imports are not known."""
        if on != self._whole_project:
            self._whole_project = on
            self._find_files(loaded_at)
            self._wake.set()

    async def close(self) -> None:
        """End the iteration promptly. Safe to call twice."""
        self._closed = True
        self._wake.set()
        await self._stop_events()

    def __aiter__(self) -> AsyncIterator[set[Path]]:
        return self

    async def __anext__(self) -> set[Path]:
        while not self._closed:
            woken = await self._listen()
            if woken.reason == "event":
                self._missed = 0
            changed = await self._collect(woken)
            if changed and not self._closed:
                return changed
        raise StopAsyncIteration

    async def _listen(self) -> _Woken:
        """Wait for something to happen."""
        if await self._set_watches():
            return _Woken("changes may have been missed")
        if self._wake.is_set():
            self._wake.clear()
            return _Woken("asked to")
        if self._events is None:
            await self._sleep(POLL_EVERY_S)
            return _Woken("time")
        try:
            touched = await self._wait_for_event()
        except (OSError, RuntimeError) as error:
            self._poll_from_now_on(str(error))
            return _Woken("changes may have been missed")
        return _Woken("event" if touched else "asked to" if self._wake.is_set() else "time", touched)

    async def _wait_for_event(self) -> set[str]:
        """Paths touched; empty when the watched set changed or the time was up."""
        assert self._events is not None
        event = asyncio.create_task(self._events.wait())
        wake = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({event, wake}, return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else set()
        finally:
            for task in (event, wake):
                task.cancel()
            await asyncio.wait({event, wake})

    async def _sleep(self, seconds: float) -> None:
        """Sleep that `close` and a new set of files cut short."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _collect(self, woken: _Woken) -> set[Path]:
        """What has changed by now, and what goes on changing in the same burst."""
        if woken.reason == "time" or not woken.touched <= self._known_names():
            self._find_new_files()
        changed = self._fingerprints.changed(map(os.path.realpath, woken.touched))
        if changed and woken.reason == "time" and self._events is not None:
            self._count_missed()
        deadline = time.monotonic() + LONGEST_BURST_S
        unsettled = self._fingerprints.unsettled()
        while (changed or unsettled) and not self._closed and time.monotonic() < deadline:
            await asyncio.sleep(SETTLE_S if unsettled else QUIET_S if len(changed) == 1 else QUIET_MANY_S)
            self._find_new_files()
            more = self._fingerprints.changed()
            still = self._fingerprints.settle(unsettled & self._fingerprints.unsettled())
            unsettled = self._fingerprints.unsettled()
            if not (more or still or unsettled):
                break
            changed |= more | still
        return changed

    def _count_missed(self) -> None:
        """A change that no event told of. A file system that tells of none is polled."""
        self._missed += 1
        if self._missed >= MISSED_BEFORE_POLLING:
            self._poll_from_now_on("this file system reports no changes")

    # which files, which folders

    def _find_files(self, newer_than: float | None = None) -> None:
        self._fingerprints.set_paths(self._imported | self._matching(), newer_than)
        self._set_folders()

    def _find_new_files(self) -> None:
        if self._patterns or self._whole_project:
            self._fingerprints.add_missing(self._matching())
            self._set_folders()

    def _matching(self) -> set[Path]:
        patterns = list(self._patterns)
        if self._whole_project:
            patterns.append(WatchPattern(self._project, "**/*.py"))
        files: set[Path] = set()
        self._pattern_folders = set()
        for pattern in patterns:
            found = pattern.find()
            files.update(found.files)
            self._pattern_folders.update(found.folders)
            if found.cut and not self._cut_said:
                self._cut_said = True
                self._notice(f"watching only the first {MOST_FOLDERS} folders / {MOST_FILES} files of {pattern.base}")
        return files

    def _set_folders(self) -> None:
        """Folders to watch: of each file, and of what it links to."""
        self._folders = set(self._pattern_folders)
        for path in self._fingerprints.paths():
            self._folders.add(path.parent)
            self._folders.add(Path(os.path.realpath(path)).parent)

    def _known_names(self) -> set[str]:
        return set(map(str, self._fingerprints.paths()))

    async def _set_watches(self) -> bool:
        """Watch the folders that are to be watched now. True if the watches are new: changes may have been missed."""
        if self._polling or self._closed:
            await self._stop_events()
            return False
        # Where a folder is gone, its nearest parent tells when it comes back.
        folders = {_nearest_existing(folder) for folder in self._folders}
        # A folder that was removed and made again is another one, although it has the same name.
        watched = frozenset(filter(None, map(_identity, folders)))
        if watched == self._watched and (self._events is not None or not watched):
            return False
        await self._stop_events()
        self._watched = watched
        return await self._start_events(folders) if folders else False

    async def _start_events(self, folders: set[Path]) -> bool:
        events = FolderEvents(folders, LOOK_EVERY_S)
        try:
            await events.start()
        except (OSError, RuntimeError) as error:
            await events.stop()
            if all(map(_identity, folders)):  # else one has just gone: try again without it
                self._poll_from_now_on(str(error))
            return True
        self._events = events
        return True

    async def _stop_events(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            await events.stop()

    def _poll_from_now_on(self, why: str) -> None:
        if not self._polling:
            self._polling = True
            self._notice(f"files are looked at every {POLL_EVERY_S:g} s, because {why}")


def _nearest_existing(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _identity(folder: Path) -> _Identity | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return str(folder), status.st_dev, status.st_ino

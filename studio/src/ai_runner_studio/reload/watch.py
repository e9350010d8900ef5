"""Watcher: which of the pipeline's files have been saved with another content.

It yields sets of changed files and does nothing else; what follows from a change is the session's matter.
The file system's events only wake it: what counts is whether the content differs from what it was, so a
touch, an editor's rename and a watch that had to be set anew are all the same to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from runner.time_limit import time_limit

from .dependencies import Dependencies
from .file_system import file_system_of, file_systems
from .fingerprint import Look
from .folder_events import FolderEvents
from .loop import LoopGuard
from .watch_limit import why_not_watched
from .watched_files import WatchedFiles

LOOK_EVERY_S = 1.0  # without an event: also finds what a file system did not report
POLL_EVERY_S = 0.3
MISSED_BEFORE_POLLING = 2
QUIET_S = 0.01  # after changed files, for others saved with them, or a formatter's second save
QUIET_MANY_S = 0.1  # after more than `FEW` files: a checkout goes on for a while
FEW = 5
QUIET_MOST_S = 0.4
RAPID_S = 0.2  # a change so soon after a report makes the quiet longer
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

    One reader, one event loop, which never waits for a disk: what asks the file system runs in a thread, one thing
    after the other. The iteration ends after `close`; a watch that fails turns into polling and never ends it.
    """

    def __init__(
        self, project: Path, patterns: Sequence[str] = (), notice: Callable[[str], None] | None = None
    ) -> None:
        """Args: patterns: as given by ``--watch``. notice: gets a sentence for the user now and then."""
        self._notice = notice or (lambda _sentence: None)
        self._files = WatchedFiles(project, patterns)
        self._dependencies = Dependencies(project)
        self._guard = LoopGuard(self._notice)
        self._orders: deque[Callable[[], object]] = deque([partial(self._files.find, time.time())])
        self._load_began_at = 0.0
        self._events: FolderEvents | None = None
        self._watched: frozenset[_Identity] = frozenset()
        self._refused = False
        self._look_every_s = LOOK_EVERY_S
        self._said: set[str] = set()
        self._untold = False
        self._missed = 0
        self._reported_at = float("-inf")
        self._rapid = 0
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def watching(self) -> int:
        """How many files a save of which is reported, as far as is known by now."""
        return len(self._files)

    @property
    def polling(self) -> bool:
        """Whether the files are looked at often because not every change is told of by an event."""
        return self._refused or self._look_every_s < LOOK_EVERY_S

    def watch_files(self, files: Iterable[Path], loaded_at: float | None = None) -> None:
        """Watch exactly these files, and those of the patterns.

        Args:
            files: absolute paths of what the pipeline process has imported.
            loaded_at: when that process began to import (seconds since the epoch): what was saved after
                that, before it was watched, is reported. None: what is there now counts as known.
        """
        since = time.time() if loaded_at is None else loaded_at
        self._order(partial(self._files.set_imported, tuple(files), since))

    def watch_project(self, on: bool, loaded_at: float | None = None) -> None:
        """Watch all Python files of the project too: after a first load that failed, the imports are not known."""
        self._order(partial(self._files.set_whole_project, on, loaded_at))

    def load_began(self) -> None:
        """The pipeline process begins to import: what is written from here on may be its own doing."""
        self._load_began_at = time.time()
        self._guard.load_began(time.monotonic())

    def load_ended(self, failed: bool = False) -> None:
        """The load begun last has succeeded, failed, or been superseded.

        Args:
            failed: it may have missed a file that is yet to come: new Python files of the project are reported too,
                until a load ends otherwise.
        """
        self._guard.load_ended(time.monotonic())
        self._order(partial(self._files.expect_new, self._load_began_at if failed else None))

    def follow_again(self) -> None:
        """Follow the files again that were let go because each load wrote them anew."""
        self._guard.follow_again()

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
            self._count_missed(woken)
            changed = await self._burst(await self._look(woken))
            changed |= self._guard.release() if changed else self._guard.due(time.monotonic())
            if changed and not self._closed:
                self._reported_at = time.monotonic()
                return changed
        raise StopAsyncIteration

    def _order(self, work: Callable[[], object]) -> None:
        """Have something done with the watched files before they are looked at next."""
        self._orders.append(work)
        self._wake.set()

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    # being woken

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
            touched = await self._wait_for_event(self._events)
        except (OSError, RuntimeError) as error:
            self._poll_from_now_on(error)
            return _Woken("changes may have been missed")
        return _Woken("event" if touched else "asked to" if self._wake.is_set() else "time", touched)

    async def _wait_for_event(self, events: FolderEvents) -> set[str]:
        """Paths touched; empty when the watched set changed or the time was up."""
        due = self._guard.next_due()
        event = asyncio.create_task(events.wait())
        wake = asyncio.create_task(self._wake.wait())
        try:
            timeout = None if due is None else max(0.0, due - time.monotonic())
            await asyncio.wait({event, wake}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else set()
        finally:
            for task in (event, wake):
                task.cancel()
            await asyncio.wait({event, wake})

    async def _sleep(self, seconds: float) -> None:
        """Sleep that `close` and a new set of files cut short."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(seconds):
                await self._wake.wait()

    # looking

    async def _look(self, woken: _Woken) -> Look:
        touched = woken.touched if woken.reason == "event" else None
        look, sentences = await asyncio.to_thread(self._look_at_disk, touched)
        for sentence in sentences:
            self._notice(sentence)
        self._say_once(self._files.left_out)
        if look.changed and woken.reason == "time":
            self._untold = True
        return look

    def _look_at_disk(self, touched: set[str] | None) -> tuple[Look, list[str]]:
        asks = touched is None or any(map(self._dependencies.may_be, touched))
        return self._look_at_files(touched), self._dependencies.look() if asks else []

    def _look_at_files(self, touched: set[str] | None = None) -> Look:
        self._obey()
        return self._files.look(touched)

    async def _burst(self, look: Look) -> set[Path]:
        """What has changed, and what goes on changing in the same burst."""
        began = changed_at = now = time.monotonic()
        changed = self._guard.sift(look.changed, now)
        if changed:
            self._rapid = min(self._rapid + 1, 10) if now - self._reported_at < RAPID_S else 0
        hollow = dict.fromkeys(look.hollow - self._guard.held(), now)
        while (changed or hollow) and not self._closed and now - began < LONGEST_BURST_S:
            settling = any(now - since < SETTLE_S for since in hollow.values())
            if not settling and now - changed_at >= self._quiet_s(len(changed)):
                break
            await asyncio.sleep(QUIET_S)
            look = await asyncio.to_thread(self._look_at_files)
            now = time.monotonic()
            if more := self._guard.sift(look.changed, now):
                changed_at = now
                changed |= more
            hollow = {path: hollow.get(path, now) for path in look.hollow - self._guard.held()}
        gone = [path for path, since in hollow.items() if now - since >= SETTLE_S]
        return changed | await asyncio.to_thread(self._files.settle, gone) if gone else changed

    def _quiet_s(self, files: int) -> float:
        """How long nothing may change before a burst is over: longer for many files, and for one report after another.

        A tool that goes on saving is thus reported ever more seldom, and a single save at once.
        """
        shortest = QUIET_S if files <= FEW else QUIET_MANY_S
        return max(shortest, min(QUIET_S * (1 << self._rapid), QUIET_MOST_S))

    def _count_missed(self, woken: _Woken) -> None:
        """Count changes that were found by looking and that no event told of either until the next look.

        A file system that tells of none is looked at often. An event may be late where the machine is busy, and is
        lost where the watches were set anew: neither says anything of the file system.
        """
        if woken.reason == "event":
            self._missed, self._untold = 0, False
        elif woken.reason == "changes may have been missed":
            self._untold = False
        elif woken.reason == "time" and self._untold and not self.polling:
            self._missed, self._untold = self._missed + 1, False
            if self._missed >= MISSED_BEFORE_POLLING:
                self._look_often("this file system does not report every change")

    # being told

    async def _set_watches(self) -> bool:
        """Watch the folders that are to be watched now. True if the watches are new: changes may have been missed."""
        if self._refused or self._closed:
            await self._stop_events()
            return False
        folders, watched = await asyncio.to_thread(self._folders)
        if watched == self._watched and (self._events is not None or not watched):
            return False
        await self._stop_events()
        await self._expect_silence(folders)
        self._watched = watched
        return await self._start_events(folders) if folders else False

    def _folders(self) -> tuple[set[Path], frozenset[_Identity]]:
        self._obey()
        wanted = self._files.folders.union(self._dependencies.folders)
        # Where a folder is gone, its nearest parent tells when it comes back.
        folders = {_nearest_existing(folder) for folder in wanted}
        # A folder that was removed and made again is another one, although it has the same name.
        return folders, frozenset(filter(None, map(_identity, folders)))

    async def _expect_silence(self, folders: Iterable[Path]) -> None:
        """Look often where folders are shared with other systems, whose changes are not reported."""
        mounted = await asyncio.to_thread(file_systems)
        found = await asyncio.to_thread(lambda: {file_system_of(folder, mounted) for folder in folders})
        for system in found:
            if system is not None and system.is_shared:
                self._look_often(f"{system.mounted_at} ({system.kind}) does not report every change")

    async def _start_events(self, folders: set[Path]) -> bool:
        events = FolderEvents(folders, self._look_every_s)
        try:
            await events.start()
        except (OSError, RuntimeError) as error:
            await events.stop()
            if all(map(_identity, folders)):  # else one has just gone: try again without it
                self._poll_from_now_on(error)
            return True
        self._events = events
        return True

    async def _stop_events(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            await events.stop()

    def _poll_from_now_on(self, error: Exception) -> None:
        self._refused = True
        self._look_often(why_not_watched(error))

    def _look_often(self, why: str) -> None:
        if self._look_every_s > POLL_EVERY_S:
            self._look_every_s = POLL_EVERY_S
            self._watched = frozenset()  # set them anew, with this time
        self._say_once(f"files are looked at every {POLL_EVERY_S:g} s: {why}")

    def _say_once(self, sentence: str) -> None:
        if sentence and sentence not in self._said:
            self._said.add(sentence)
            self._notice(sentence)


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

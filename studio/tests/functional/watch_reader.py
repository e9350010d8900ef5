"""Background reader and movable clock for tests of the watcher."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ai_runner_studio.reload.fingerprint import Look
from ai_runner_studio.reload.watch import Watcher, _Woken

PATIENCE_S = 60.0  # ends a hang
MARK_EVERY_S = 0.2


class Clock:
    """Replacement for the watcher's `time`: the monotonic clock stands still unless the test moves or runs it."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._runs_since: float | None = None
        self._moved = asyncio.Event()

    time = staticmethod(time.time)

    def monotonic(self) -> float:
        return self._now_s if self._runs_since is None else self._now_s + time.monotonic() - self._runs_since

    def stop(self) -> None:
        self._now_s, self._runs_since = self.monotonic(), None

    def run(self) -> None:
        """Run at the speed of real time."""
        self._now_s, self._runs_since = self.monotonic(), time.monotonic()

    def move(self, seconds: float) -> None:
        self._now_s += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def passes(self, seconds: float) -> None:
        """Wait until the test has moved the clock that far."""
        until = self._now_s + seconds - 1e-6
        while self._now_s < until:
            await self._moved.wait()


class Reader:
    """Reader of a watcher, active before the test's first save, which follows the watcher's progress."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.reports: asyncio.Queue[set[Path]] = asyncio.Queue()
        self._listen, self._look = watcher._listen, watcher._look_at_files
        watcher._listen, watcher._look_at_files = self._listening, self._looking  # type: ignore[method-assign]
        self._is_waiting = False
        self._waits = 0  # for something to happen
        self._timed_looks = 0  # at all files, without an event
        self._looks = 0
        self._last_full_look = 0
        self._last_look: dict[str, int] = {}  # by path
        self._marks = 0
        self._mark_seen: dict[str, int] = {}  # name of a mark -> the wait that its event ended

    async def _listening(self) -> _Woken:
        self._waits += 1
        self._is_waiting = True
        woken = await self._listen()
        self._is_waiting = False
        self._timed_looks += woken.reason == "time"
        for path in woken.touched:
            self._mark_seen[Path(path).name] = self._waits
        return woken

    def _looking(self, touched: set[str] | None = None) -> Look:
        self._looks += 1
        number = self._looks
        look = self._look(touched)
        if touched is None:
            self._last_full_look = number
        for path in touched or ():
            self._last_look[path] = number
        return look

    async def read(self) -> None:
        async for changed in self.watcher:
            self.take(changed)

    def take(self, changed: set[Path]) -> None:
        """Take a report."""
        self.reports.put_nowait(changed)

    async def next(self) -> set[Path]:
        return await asyncio.wait_for(self.reports.get(), PATIENCE_S)

    async def all_of(self, files: set[Path]) -> int:
        """Wait until all of `files` are reported, and return the number of reports."""
        seen: set[Path] = set()
        count = 0
        while not files <= seen:
            seen |= await self.next()
            count += 1
        return count

    async def is_silent(self) -> bool:
        """Return True if nothing is reported for all that has happened so far."""
        await self.catches_up()
        return self.reports.empty()

    async def all_so_far(self) -> list[set[Path]]:
        """Return the reports for all that has happened so far."""
        await self.catches_up()
        return [self.reports.get_nowait() for _ in range(self.reports.qsize())]

    async def is_ready(self) -> None:
        """Wait until the watcher has seen the present files, listens to their folders, and has nothing left to do."""
        await self._until(lambda: self._waits >= 2)
        await self.looks()
        # A request to look may be answered twice.
        await self._until(lambda: self._is_waiting and not self.watcher._wake.is_set())

    async def catches_up(self) -> None:
        """Wait until the watcher has reported all that has happened so far.

        Events are delivered in order: the event of a file made now is the last one. Without events, for example after
        a folder was replaced, two looks at all files do.
        """
        self._marks += 1
        mark = self.watcher._dependencies.folders[0] / f"mark-{self._marks}"
        looks = self._timed_looks
        touch_at = 0.0

        def is_seen() -> bool:
            nonlocal touch_at
            if time.monotonic() >= touch_at:
                mark.touch()
                touch_at = time.monotonic() + MARK_EVERY_S
            return mark.name in self._mark_seen or self._timed_looks >= looks + 2

        await self._until(is_seen)
        wait = self._mark_seen.get(mark.name, self._waits)
        await self._until(lambda: self._waits > wait)

    async def sees(self, file: Path) -> None:
        """Wait for a look at the file that starts after this call."""
        after = self._looks
        await self._until(lambda: max(self._last_full_look, self._last_look.get(str(file), 0)) > after)

    async def looks(self) -> None:
        """Make the watcher look at all files, and wait for that."""
        after = self._looks
        self.watcher._order(lambda: None)
        await self._until(lambda: self._last_full_look > after)

    async def watches(self, count: int) -> None:
        """Wait until that many files are watched."""
        await self._until(lambda: self.watcher.watching == count)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        await asyncio.wait_for(wait(), PATIENCE_S)


@asynccontextmanager
async def reading(watcher: Watcher) -> AsyncIterator[Reader]:
    """Read a watcher that has seen the present files."""
    reader = Reader(watcher)
    async with active(reader):
        yield reader


@asynccontextmanager
async def active(reader: Reader) -> AsyncIterator[None]:
    """Run a reader and close its watcher at the end."""
    task = asyncio.create_task(reader.read())
    try:
        await reader.is_ready()
        yield
    finally:
        await reader.watcher.close()
        await asyncio.wait_for(task, PATIENCE_S)


def watch(*files: Path, **options: object) -> Watcher:
    """A watcher of these files, the first of which lies in the project's folder."""
    watcher = Watcher(files[0].parent, **options)  # type: ignore[arg-type]
    watcher.watch_files(files)
    return watcher


async def python(code: str, *args: object) -> str:
    """Run a script in its own process and return its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, args), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()

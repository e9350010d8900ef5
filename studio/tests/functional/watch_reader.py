"""What tests of the watcher share: one that reads it in the background."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ai_runner_studio.reload.watch import Watcher

PATIENCE_S = 10.0  # a busy machine
SILENCE_S = 0.4  # long enough for a report that should not come


class Reader:
    """Reads a watcher, from before the test's first save."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.reports: asyncio.Queue[set[Path]] = asyncio.Queue()

    async def read(self) -> None:
        async for changed in self.watcher:
            await self.reports.put(changed)

    async def next(self) -> set[Path]:
        return await asyncio.wait_for(self.reports.get(), PATIENCE_S)

    async def all_of(self, files: set[Path]) -> int:
        """How many reports it took until all of `files` were reported."""
        seen: set[Path] = set()
        count = 0
        while not files <= seen:
            seen |= await self.next()
            count += 1
        return count

    async def is_silent(self) -> bool:
        await asyncio.sleep(SILENCE_S)
        return self.reports.empty()

    async def until_quiet(self) -> list[set[Path]]:
        """All reports until there are no more for a while."""
        found = []
        while True:
            try:
                found.append(await asyncio.wait_for(self.reports.get(), 1.5 * SILENCE_S))
            except asyncio.TimeoutError:
                return found

    async def watches(self, count: int) -> None:
        """Wait until so many files are watched."""

        async def come() -> None:
            while self.watcher.watching != count:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(come(), PATIENCE_S)


@asynccontextmanager
async def reading(watcher: Watcher) -> AsyncIterator[Reader]:
    """A reader at work; it has seen how the files are now."""
    reader = Reader(watcher)
    task = asyncio.create_task(reader.read())
    await asyncio.sleep(0.15)
    try:
        yield reader
    finally:
        await watcher.close()
        await asyncio.wait_for(task, PATIENCE_S)


def watch(*files: Path, **options: object) -> Watcher:
    """A watcher of these files, the first of which lies in the project's folder."""
    watcher = Watcher(files[0].parent, **options)  # type: ignore[arg-type]
    watcher.watch_files(files)
    return watcher


async def python(code: str, *args: object) -> str:
    """Run a script in a process of its own and give back what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, args), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()

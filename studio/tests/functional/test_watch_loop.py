"""The watcher and a pipeline that writes watched files itself, on real files and real processes.

Time passes only as the tests say, so a busy machine changes nothing: a load takes 0.1 s or 0.2 s of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from watch_reader import Clock, Reader, active, python

from ai_runner_studio.reload import loop
from ai_runner_studio.reload.watch import Watcher

BUMP = "import sys\nfile = open(sys.argv[1], 'r+')\nn = int(file.read())\nfile.seek(0)\nfile.write(str(n + 1))\n"
STEP_S = 0.25  # of the clock, while nothing is expected
REST_S = 2 * loop.REST_S  # longer than any change is held back

pytestmark = pytest.mark.usefixtures("no_hurry")


class Loads(Reader):
    """Loader of the pipeline for each report, as a session is: a newer report cancels the load in progress."""

    def __init__(self, watcher: Watcher, clock: Clock, load: Callable[[Loads], Awaitable[object]]) -> None:
        super().__init__(watcher)
        self.count = 0
        self.files: set[Path] = set()
        self.clock = clock
        self._load = load
        self._loading: asyncio.Task[None] | None = None
        self._held = 0

    def take(self, changed: set[Path]) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self.files = changed
        self.count += 1
        self._loading = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self.watcher.load_began()
        try:
            await self._load(self)
        finally:
            self.watcher.load_ended()

    async def write(self, file: Path) -> None:
        """Write a file from a process, which takes no time of the clock."""
        self._held += 1
        try:
            await python(BUMP, file)
            await self.sees(file)
        finally:
            self._held -= 1

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the pipeline and the watcher."""
        await self._until(lambda: not self._held)
        self.clock.move(seconds)
        await self.looks()

    async def rest(self) -> int:
        """Let time pass until there are no more loads, and return their number."""
        rested_s = 0.0
        while rested_s < REST_S:
            count = self.count
            await self.pass_time(STEP_S)
            loading = self._loading is not None and not self._loading.done()
            rested_s = 0.0 if loading or count != self.count else rested_s + STEP_S
        return self.count

    async def end(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            with suppress(asyncio.CancelledError):
                await self._loading


@asynccontextmanager
async def loading(watcher: Watcher, clock: Clock, load: Callable[[Loads], Awaitable[object]]) -> AsyncIterator[Loads]:
    loads = Loads(watcher, clock, load)
    async with active(loads):
        try:
            yield loads
        finally:
            clock.run()
            await loads.end()


async def test_a_file_that_each_load_writes_is_let_go_and_followed_again_when_saved_at_rest(
    tmp_path: Path, clock: Clock
) -> None:
    counter, effect = tmp_path / "counter.json", tmp_path / "effect.py"
    counter.write_text("1")
    effect.write_text("a = 1\n")
    said: list[str] = []
    watcher = Watcher(tmp_path, ["*.json"], said.append)
    watcher.watch_files([effect])

    async def load(loads: Loads) -> None:
        await clock.passes(0.1)
        await loads.write(counter)
        await clock.passes(0.1)

    async with loading(watcher, clock, load) as loads:
        loads.take(set())
        assert await loads.rest() <= loop.LET_GO_FROM + 1
        assert said == [
            "counter.json is written anew each time the pipeline is loaded (by the pipeline itself?): "
            "saves of it are not followed until it is saved at rest"
        ]
        before = loads.count
        effect.write_text("a = 2\n")
        await loads.sees(effect)
        assert await loads.rest() == before + 1
        counter.write_text("1000")
        await loads.sees(counter)
        assert await loads.rest() == before + 2
        assert loads.files == {counter}
        assert len(said) == 1


async def test_a_file_that_is_written_all_the_time_neither_loads_for_ever_nor_holds_up_others(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter times, in the same proportions: fewer writes do.
    monkeypatch.setattr(loop, "REST_S", 0.4)
    monkeypatch.setattr(loop, "HOLDS_S", (0.1, 0.2, 0.4))
    state, effect = tmp_path / "state.json", tmp_path / "effect.py"
    effect.write_text("a = 1\n")
    state.write_text("0")
    watcher = Watcher(tmp_path, ["*.json"])
    watcher.watch_files([effect])
    async with loading(watcher, clock, lambda _: clock.passes(0.05)) as loads:
        loads.take(set())
        for number in range(50):
            state.write_text(str(number))
            await loads.sees(state)
            await loads.pass_time(0.03)
        assert loads.count < 8
        effect.write_text("a = 2\n")
        for number in range(50, 100):
            state.write_text(str(number))
            await loads.sees(state)
            await loads.pass_time(0.03)
            if effect in loads.files:
                break
        assert effect in loads.files


async def test_the_last_of_a_storm_of_saves_is_loaded(tmp_path: Path, clock: Clock) -> None:
    effect = tmp_path / "effect.py"
    effect.write_text("a = 'before'\n")
    loaded: list[str] = []

    async def load(_loads: Loads) -> None:
        text = effect.read_text()
        await clock.passes(0.1)
        loaded.append(text)

    watcher = Watcher(tmp_path)
    watcher.watch_files([effect])
    async with loading(watcher, clock, load) as loads:
        for value in range(150):
            effect.write_text(f"a = {value}\n")
            await loads.sees(effect)
            await loads.pass_time(0.01)
        assert await loads.rest() < 75
        assert loaded[-1] == "a = 149\n"
        effect.write_text("a = 'after'\n")
        await loads.sees(effect)
        await loads.rest()
        assert loaded[-1] == "a = 'after'\n"

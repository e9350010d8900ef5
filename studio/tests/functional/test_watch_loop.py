"""The watcher and a pipeline that writes watched files itself, on real files and real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from watch_reader import PATIENCE_S, SILENCE_S, python

from ai_runner_studio.reload import loop
from ai_runner_studio.reload.watch import Watcher

BUMP = "import sys\nfile = open(sys.argv[1], 'r+')\nn = int(file.read())\nfile.seek(0)\nfile.write(str(n + 1))\n"
SAVE_OFTEN = (
    "import sys, time\nfor i in range(150):\n    open(sys.argv[1], 'w').write(f'a = {i}\\n')\n    time.sleep(0.01)"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter times, in the same proportions."""
    monkeypatch.setattr(loop, "AFTER_S", 0.3)
    monkeypatch.setattr(loop, "REST_S", 0.4)
    monkeypatch.setattr(loop, "HOLDS_S", (0.1, 0.2, 0.4))


class Loads:
    """Loads the pipeline for each report, as a session does: a newer report gives up the load under way."""

    def __init__(self, watcher: Watcher, load: Callable[[], Awaitable[object]]) -> None:
        self.count = 0
        self.files: set[Path] = set()
        self._watcher = watcher
        self._load = load
        self._loading: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        async for files in self._watcher:
            self.begin(files)

    def begin(self, files: set[Path]) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self.files = files
        self.count += 1
        self._loading = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self._watcher.load_began()
        try:
            await self._load()
        finally:
            self._watcher.load_ended()

    async def rest(self) -> int:
        """How many loads it took until there were no more."""
        await asyncio.wait_for(self._rest(), 2 * PATIENCE_S)
        return self.count

    async def _rest(self) -> None:
        before = -1
        while before != self.count or (self._loading is not None and not self._loading.done()):
            before = self.count
            await asyncio.sleep(1.5 * SILENCE_S)

    async def end(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})


@asynccontextmanager
async def loading(watcher: Watcher, load: Callable[[], Awaitable[object]]) -> AsyncIterator[Loads]:
    loads = Loads(watcher, load)
    following = asyncio.create_task(loads.follow())
    await asyncio.sleep(0.15)
    try:
        yield loads
    finally:
        await watcher.close()
        await asyncio.wait_for(following, PATIENCE_S)
        await loads.end()


async def test_a_file_that_each_load_writes_is_let_go_and_followed_again_when_saved_at_rest(tmp_path: Path) -> None:
    counter, effect = tmp_path / "counter.json", tmp_path / "effect.py"
    counter.write_text("1")
    effect.write_text("a = 1\n")
    said: list[str] = []
    watcher = Watcher(tmp_path, ["*.json"], said.append)
    watcher.watch_files([effect])
    async with loading(watcher, lambda: python(BUMP, counter)) as loads:
        loads.begin(set())
        assert await loads.rest() <= loop.LET_GO_FROM + 1
        assert said == [
            "counter.json is written anew each time the pipeline is loaded (by the pipeline itself?): "
            "saves of it are not followed until it is saved at rest"
        ]
        before = loads.count
        effect.write_text("a = 2\n")
        assert await loads.rest() == before + 1
        counter.write_text("1000")
        assert await loads.rest() == before + 2
        assert loads.files == {counter}
        assert len(said) == 1


async def test_a_file_that_is_written_all_the_time_neither_loads_for_ever_nor_holds_up_others(tmp_path: Path) -> None:
    state, effect = tmp_path / "state.json", tmp_path / "effect.py"
    effect.write_text("a = 1\n")
    state.write_text("0")
    watcher = Watcher(tmp_path, ["*.json"])
    watcher.watch_files([effect])
    async with loading(watcher, lambda: asyncio.sleep(0.05)) as loads:
        writing = asyncio.create_task(
            python(
                "import sys, time\nfor i in range(100):\n    open(sys.argv[1], 'w').write(str(i))\n    time.sleep(.03)",
                state,
            )
        )
        loads.begin(set())
        await asyncio.sleep(1.5)
        before = loads.count
        assert before < 8
        effect.write_text("a = 2\n")
        while effect not in loads.files:
            await asyncio.sleep(0.01)
        assert not writing.done()
        await writing


async def test_the_last_of_a_storm_of_saves_is_loaded(tmp_path: Path) -> None:
    effect = tmp_path / "effect.py"
    effect.write_text("a = 'before'\n")
    loaded: list[str] = []

    async def load() -> None:
        text = effect.read_text()
        await asyncio.sleep(0.1)
        loaded.append(text)

    watcher = Watcher(tmp_path)
    watcher.watch_files([effect])
    async with loading(watcher, load) as loads:
        await python(SAVE_OFTEN, effect)
        assert await loads.rest() < 75
        assert loaded[-1] == "a = 149\n"
        effect.write_text("a = 'after'\n")
        await loads.rest()
        assert loaded[-1] == "a = 'after'\n"

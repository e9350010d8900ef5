"""Good, broken and slow saves at random moments, and kills at random: the picture goes on, the last good save wins.

Twenty seconds by default. Longer, or again with the same choices:

    AI_RUNNER_CHAOS_S=300 AI_RUNNER_CHAOS_SEED=7 python -m pytest studio/tests/functional/test_chaos.py
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from test_session import Project, Watched, level

SECONDS = float(os.environ.get("AI_RUNNER_CHAOS_S", "20"))
SEED = int(os.environ.get("AI_RUNNER_CHAOS_SEED", "0")) or random.randrange(1 << 32)
MARK = "CHAOS_TEST_RUN"  # in the environment of every process of a run
# A cold start on a machine that is busy with others. A hang of new code is answered after 5 s.
LONGEST_GAP_S = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 180)]

BROKEN = (
    "def effect(frame)\n    return frame\n",
    "import no_such_module_at_all\n" + level(1),
    "1 / 0\n" + level(1),
    "def effect(frame):\n    return no_such_name\n",
    "def effect(frame):\n    return frame[..., 0]\n",
    "import os\nos._exit(7)\n" + level(1),
    "import os\ndef effect(frame):\n    os._exit(8)\n",
    "",
)
SLOW = "import time\ntime.sleep({seconds})\n"


class Chaos:
    """What happens to one session. `good` is the value of the newest good save."""

    def __init__(self, run: Watched, project: Project, dice: random.Random) -> None:
        self.good = 10
        self.told: list[str] = []
        self._run = run
        self._project = project
        self._dice = dice
        self._next = 11

    async def happen(self) -> None:
        """One thing."""
        thing = self._dice.choices(
            (self._save_good, self._save_slow, self._save_broken, self._save_often, self._kill, self._go_back),
            (6, 2, 5, 1, 4, 1),
        )[0]
        await thing()
        await asyncio.sleep(self._dice.choice((0.0, 0.02, 0.1, 0.5, 1.5)))

    def _value(self) -> int:
        self._next = 11 + (self._next - 10) % 200
        self.good = self._next
        return self.good

    async def _save_good(self) -> None:
        self._save(level(self._value()))

    async def _save_slow(self) -> None:
        self._save(level(self._value(), SLOW.format(seconds=self._dice.uniform(0.1, 2.0))))

    async def _save_broken(self) -> None:
        self._save(self._dice.choice(BROKEN))

    async def _save_often(self) -> None:
        for _ in range(20):
            self._save(level(self._value()))
            await asyncio.sleep(0.02)

    def _save(self, source: str) -> None:
        self.told.append(f"save {source!r}")
        self._project.save("pipeline", source)

    async def _kill(self) -> None:
        """A process of the host's, whichever: serving, loading, template, spare."""
        processes = self.processes()
        if processes:
            process = self._dice.choice(processes)
            self.told.append(f"kill {process.pid}")
            with suppress(psutil.NoSuchProcess):
                process.send_signal(self._dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV)))

    async def _go_back(self) -> None:
        good = [load.revision for load in self._run.session.snapshot.loads if load.can_return]
        if good:
            self.told.append(f"back to {good[0]}")
            with suppress(Exception):
                await self._run.session.revert(self._dice.choice(good))

    def processes(self) -> list[psutil.Process]:
        """Those that the host has started, ended ones that it has not looked at included."""
        host = self._run.session.snapshot.host
        children = psutil.Process(host.pid).children() if host is not None else []
        return [child for child in children if not _is_resource_tracker(child)]

    def state(self) -> list[str]:
        """What is there now, to be read when it is not what it should be."""
        now = self._run.session.snapshot
        processes = [f"{process.pid} {process.status()} {process.cmdline()}" for process in self.processes()]
        return [str(now.standby), str(now.load), *processes, *map(str, now.logs[-40:])]


def _is_resource_tracker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "resource_tracker" in " ".join(process.cmdline())
    return False


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


async def longest_gap(run: Watched) -> float:
    """The longest time without a new picture, loading pictures included, until cancelled."""
    longest, last, pictures = 0.0, time.monotonic(), run.pictures
    try:
        while True:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            longest = max(longest, now - last)
            if run.pictures != pictures:
                last, pictures = now, run.pictures
    except asyncio.CancelledError:
        return longest


async def test_the_picture_goes_on_and_the_last_good_save_wins(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(SEED)
    monkeypatch.setenv(MARK, str(SEED))
    project.save("pipeline", level(10))
    async with project.opened() as run:
        await run.shows(10)
        chaos = Chaos(run, project, dice)
        gap = asyncio.create_task(longest_gap(run))
        ends = time.monotonic() + SECONDS
        try:
            while time.monotonic() < ends:
                await chaos.happen()
            project.save("pipeline", level(250))
            await run.shows(250)
            await run.until(lambda now: now.load and now.load.outcome == "serving" and now.load.restores is None)
            # Serving, template, spare.
            await run.until(lambda now: now.standby and now.standby.state == "ready" and len(chaos.processes()) == 3)
        except BaseException:
            print(f"seed {SEED}", *chaos.told[-40:], *chaos.state(), sep="\n")
            raise
        gap.cancel()
        assert await gap < LONGEST_GAP_S
    assert [process for process in psutil.process_iter() if _is_of_this_run(process)] == []


def _is_of_this_run(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.pid != os.getpid() and process.environ().get(MARK) == str(SEED)
    return False

"""Good, broken and slow saves at random moments, and kills at random: the picture goes on, the last good save wins.

By default the same events in each run. For longer, with other events each time or with those of a seed:

    AI_RUNNER_CHAOS_S=300 AI_RUNNER_CHAOS_SEED=7 python -m pytest studio/tests/functional/test_chaos.py
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from test_session import Project, Watched, level

SECONDS = float(os.environ.get("AI_RUNNER_CHAOS_S", "0"))
SEED = int(os.environ.get("AI_RUNNER_CHAOS_SEED", "0")) or (random.randrange(1 << 32) if SECONDS else 3)
EVENTS = 40  # of a run that has no time given
PAUSES_S = (0.0, 0.02, 0.1, 0.5, 1.0)
T = TypeVar("T")
MARK, RUN = "CHAOS_TEST_RUN", f"{SEED} {os.getpid()}"  # in the environment of every process of a run
LONGEST_GAP_S = 60.0  # ends a hang

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


@dataclass(frozen=True)
class Occurrence:
    """One thing that happens to a session.

    Attributes:
        which: in [0, 1), chooses among those there are then: a broken source, a process, a revision.
        pause_s: until the next one.
    """

    kind: str
    which: float
    pause_s: float


def occurrences(dice: random.Random) -> Iterator[Occurrence]:
    """An endless sequence that depends on the dice alone, not on the state of the session."""
    kinds = ("save_good", "save_slow", "save_broken", "save_often", "kill", "go_back")
    while True:
        yield Occurrence(dice.choices(kinds, (6, 2, 5, 1, 4, 1))[0], dice.random(), dice.choice(PAUSES_S))


def choose(one_of: Sequence[T], which: float) -> T:
    return one_of[int(which * len(one_of))]


class Chaos:
    """Applies occurrences to one session."""

    def __init__(self, run: Watched, project: Project) -> None:
        self.told: list[str] = []
        self._run = run
        self._project = project
        self._next = 11

    async def happen(self, it: Occurrence) -> None:
        await getattr(self, f"_{it.kind}")(it.which)
        await asyncio.sleep(it.pause_s)

    def _value(self) -> int:
        self._next = 11 + (self._next - 10) % 200
        return self._next

    async def _save_good(self, _which: float) -> None:
        self._save(level(self._value()))

    async def _save_slow(self, which: float) -> None:
        self._save(level(self._value(), SLOW.format(seconds=0.1 + 1.9 * which)))

    async def _save_broken(self, which: float) -> None:
        self._save(choose(BROKEN, which))

    async def _save_often(self, _which: float) -> None:
        for _ in range(20):
            self._save(level(self._value()))
            await asyncio.sleep(0.02)

    def _save(self, source: str) -> None:
        self.told.append(f"save {source!r}")
        self._project.save("pipeline", source)

    async def _kill(self, which: float) -> None:
        """Kill a process of the host's, whichever: serving, loading, template, spare."""
        processes = self.processes()
        if processes:
            process = choose(processes, which)
            number = choose((signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV), which * 100 % 1)
            self.told.append(f"{number.name} to {process.pid}")
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def _go_back(self, which: float) -> None:
        good = [load.revision for load in self._run.session.snapshot.loads if load.can_return]
        if good:
            revision = choose(good, which)
            self.told.append(f"back to {revision}")
            with suppress(Exception):
                await self._run.session.revert(revision)

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
    things = occurrences(random.Random(SEED))
    monkeypatch.setenv(MARK, RUN)
    project.save("pipeline", level(10))
    async with project.opened() as run:
        await run.shows(10)
        chaos = Chaos(run, project)
        gap = asyncio.create_task(longest_gap(run))
        started = time.monotonic()
        try:
            for number, it in enumerate(things):
                if number >= EVENTS if not SECONDS else time.monotonic() - started >= SECONDS:
                    break
                await chaos.happen(it)
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
    deadline = time.monotonic() + LONGEST_GAP_S
    while (left := [process for process in psutil.process_iter() if _is_of_this_run(process)]) and (
        time.monotonic() < deadline
    ):
        await asyncio.sleep(0.05)
    assert left == []


def _is_of_this_run(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.pid != os.getpid() and process.environ().get(MARK) == RUN
    return False

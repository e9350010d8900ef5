"""Good, broken and slow saves at random moments, and kills at random: the picture goes on, the last good save wins.

By default the same events in each run. For longer, with other events each time or with those of a seed:

    AI_RUNNER_CHAOS_S=300 AI_RUNNER_CHAOS_SEED=7 python -m pytest -s studio/tests/functional/test_chaos.py

It prints what the host holds, ten times in a run: private memory, open files and threads.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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
MORE_FILES, MORE_THREADS = 8, 4  # connections and worker threads that are kept
MORE_MIB = 8.0

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
HANGING = (
    "import time\ndef effect(frame):\n    time.sleep(1000)\n",
    "def effect(frame):\n    while True:\n        pass\n",
    "import time\ntime.sleep(1000)\n" + level(1),
)


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
    weights = {
        **{
            "save_good": 6,
            "save_slow": 2,
            "save_broken": 5,
            "save_often": 1,
            "save_hanging": 1,
            "save_as_editors_do": 2,
        },
        **{"kill": 4, "go_back": 1, "check_out": 1 if shutil.which("git") else 0},
    }
    while True:
        kind = dice.choices(list(weights), list(weights.values()))[0]
        yield Occurrence(kind, dice.random(), dice.choice(PAUSES_S))


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

    async def _save_hanging(self, which: float) -> None:
        self._save(choose(HANGING, which))
        await asyncio.sleep(6 * which)  # long enough, sometimes, for the hang to be found

    async def _save_as_editors_do(self, which: float) -> None:
        """By another file that takes the place of it, with a backup, or in two writes."""
        path, source = self._project.package / "pipeline.py", level(self._value())
        self.told.append(f"save as an editor {source!r}")
        if which < 1 / 3:
            path.with_suffix(".tmp").write_text(source)
            os.replace(path.with_suffix(".tmp"), path)
        elif which < 2 / 3:
            os.replace(path, path.with_suffix(".py~"))
            path.write_text(source)
        else:
            path.write_text(source[: len(source) // 2])
            await asyncio.sleep(0.05 * which)
            path.write_text(source)

    async def _check_out(self, which: float) -> None:
        """Another commit of the project: a file comes and goes with it."""
        folder, helper = self._project.folder, self._project.package / "helper.py"
        if not (folder / ".git").exists():
            for branch, value in (("one", 201), ("two", 202)):
                helper.write_text(f"VALUE = {value}\n")
                self._project.save(
                    "pipeline", f"from .helper import VALUE\n{level(0).replace('0 / 255', 'VALUE / 255')}"
                )
                _git(folder, "init", "-q")
                _git(folder, "add", "effects")
                _git(folder, "checkout", "-q", "-B", branch)
                _git(folder, "commit", "-q", "-m", branch)
        branch = choose(("one", "two"), which)
        self.told.append(f"checkout {branch}")
        _git(folder, "checkout", "-q", "-f", branch)

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


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory_mib: float
    files: int
    threads: int

    @classmethod
    def by(cls, pid: int) -> Held:
        process = psutil.Process(pid)
        return cls(round(process.memory_full_info().uss / 2**20, 1), process.num_fds(), process.num_threads())


class Footprint:
    """What the host holds while things happen.

    It keeps the code of the latest 50 good revisions and the latest log lines, so its memory is compared with that of
    the second fifth of a run, when these are there.
    """

    def __init__(self) -> None:
        self._held: list[Held] = []

    def take(self, run: Watched) -> Held:
        host = run.session.snapshot.host
        assert host is not None
        self._held.append(Held.by(host.pid))
        return self._held[-1]

    def grown_mib(self) -> float:
        """How much more it held in the last fifth than in the second, by the medians."""
        fifth = len(self._held) // 5
        early, late = self._held[fifth : 2 * fifth], self._held[-fifth:]
        return median(held.memory_mib for held in late) - median(held.memory_mib for held in early)

    def __str__(self) -> str:
        return "\n".join(map(str, self._held[:: max(1, len(self._held) // 10)]))


def _git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


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


async def settled(run: Watched, chaos: Chaos) -> None:
    """Wait until there are three processes: serving, template, spare."""
    await run.until(lambda now: now.standby and now.standby.state == "ready" and len(chaos.processes()) == 3)


async def test_the_picture_goes_on_and_the_last_good_save_wins(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = occurrences(random.Random(SEED))
    monkeypatch.setenv(MARK, RUN)
    project.save("pipeline", level(10))
    async with project.opened() as run:
        await run.shows(10)
        chaos, footprint = Chaos(run, project), Footprint()
        await settled(run, chaos)
        at_first = footprint.take(run)
        gap = asyncio.create_task(longest_gap(run))
        started = time.monotonic()
        try:
            for number, it in enumerate(things):
                if number >= EVENTS if not SECONDS else time.monotonic() - started >= SECONDS:
                    break
                await chaos.happen(it)
                footprint.take(run)
            project.save("pipeline", level(250))
            await run.shows(250)
            await run.until(lambda now: now.load and now.load.outcome == "serving" and now.load.restores is None)
            await settled(run, chaos)
            print(f"seed {SEED}, {len(chaos.told)} events, in the host:", footprint, sep="\n")
            at_last = footprint.take(run)
            assert at_last.files <= at_first.files + MORE_FILES
            assert at_last.threads <= at_first.threads + MORE_THREADS
            assert not SECONDS or footprint.grown_mib() < MORE_MIB
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

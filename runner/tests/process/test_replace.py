"""Overlap and hand-over, snapshots and going back; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from runner.errors import RunnerError
from runner.live.events import (
    Event,
    LoadFailed,
    LoadPlanned,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    ProcessExited,
    StateChanged,
)
from runner.live.process.memory import GpuUse, SystemGauge
from runner.live.process.policy import ReloadOptions
from runner.live.process.revision import LoadRequest

from ..conftest import WriteModule
from .guarded import Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")
GIB = 1 << 30


def gives(value: int, more: str = "") -> str:
    return f"import torch\n{more}\ndef f(frame):\n    return torch.full_like(frame, {value} / 255)\n"


@pytest.fixture
def options(tmp_path: Path) -> ReloadOptions:
    return ReloadOptions(standby=True, standby_min_free_bytes=0, snapshots=tmp_path / "snapshots")


def loads(run: Guarded) -> list[LoadSucceeded]:
    return [event for event in run.events if isinstance(event, LoadSucceeded)]


async def until_revision(run: Guarded, number: int) -> LoadSucceeded:
    await run.until(lambda: loads(run) and loads(run)[-1].revision == number)
    return loads(run)[-1]


async def serving(run: Guarded, value: int) -> None:
    known = len(run.values)
    await run.until(lambda: value in run.values[known:])


@dataclass
class OneGpu(SystemGauge):
    """The real figures of the machine, with one GPU that the pipeline process uses half of."""

    used: int = 10 * GIB
    free: int = 9 * GIB

    def __post_init__(self) -> None:
        super().__init__()

    def gpus(self, pid: int, _reserved_bytes: int) -> list[GpuUse]:
        alive = pid != 0 and psutil.pid_exists(pid)
        return [GpuUse(self.used, self.free, 24 * GIB) if alive else GpuUse(0, self.free + self.used, 24 * GIB)]


class TestHandOver:
    async def test_ends_the_old_process_before_the_new_one_loads(
        self, write: WriteModule, options: ReloadOptions
    ) -> None:
        write("ho_a", gives(10))
        async with guarded("ho_a:f", options=options, gauge=OneGpu()) as run:
            run.stream()
            await serving(run, 10)
            old = run.guardian.process
            assert old is not None
            seen: list[bool] = []

            def look(event: Event) -> None:
                if isinstance(event, LoadStepped) and event.revision == 2 and event.step == "import":
                    seen.append(old.exit is not None)

            run.listeners.append(look)
            write("ho_a", gives(20))
            run.guardian.replace(LoadRequest("saved"))
            await serving(run, 20)
            load = await until_revision(run, 2)
            assert seen == [True]
            assert load.plan.way == "hand-over"
            assert (load.plan.memory, load.plan.free_bytes) == ("GPU", 9 * GIB)
            assert load.plan.needed_bytes > 10 * GIB
            assert [step.name for step in load.steps][:2] == ["stop old", "memory back"]
            states = [event.state for event in run.events if isinstance(event, StateChanged)]
            assert states == ["LOADING", "ONLINE", "LOADING", "ONLINE"] or states[-2:] == ["LOADING", "ONLINE"]
            # Every frame that is missing is told: what came while nothing served.
            missing = run.sent - len(run.outputs)
            assert load.frames_lost <= missing
            timestamps = [frame.pts for frame in run.outputs]
            assert timestamps == sorted(set(timestamps))

    async def test_is_not_done_where_there_is_room(self, write: WriteModule, options: ReloadOptions) -> None:
        write("ho_b", gives(10))
        async with guarded("ho_b:f", options=options, gauge=OneGpu(free=14 * GIB)) as run:
            run.stream()
            await serving(run, 10)
            run.guardian.replace(LoadRequest("saved"))
            load = await until_revision(run, 2)
            assert load.plan.way == "overlap"
            assert load.frames_lost <= run.gaps()

    @pytest.mark.parametrize("broken", ["1 / 0", "def f(:", "import nothing_of_that_name", "import os; os._exit(3)"])
    async def test_that_fails_brings_the_last_good_revision_back(
        self, write: WriteModule, options: ReloadOptions, broken: str
    ) -> None:
        write("ho_c", gives(10))
        async with guarded("ho_c:f", options=replace(options, replace="hand-over")) as run:
            run.stream()
            await serving(run, 10)
            path = write("ho_c", gives(20, broken))
            run.guardian.replace(LoadRequest("saved"))
            failed = await run.next(LoadFailed)
            assert failed.plan.way == "hand-over"
            assert failed.serving is None
            load = await until_revision(run, 3)
            assert load.restores == 1
            await serving(run, 10)
            assert path.read_text() == gives(20, broken)
            assert 20 not in run.values

    async def test_given_up_half_way_leaves_nothing_of_the_old_process(
        self, write: WriteModule, options: ReloadOptions
    ) -> None:
        write("ho_d", gives(10))
        async with guarded("ho_d:f", options=replace(options, replace="hand-over")) as run:
            run.stream()
            await serving(run, 10)
            for value in (20, 30, 40):
                write("ho_d", gives(value))
                run.guardian.replace(LoadRequest("saved"))
                await asyncio.sleep(0.02)
            await serving(run, 40)
            await until_revision(run, 4)


class TestGoingBack:
    async def test_loads_the_code_of_then_whatever_is_on_disk(
        self, write: WriteModule, options: ReloadOptions, project: Path
    ) -> None:
        write("gb_helper", "VALUE = 10\n")
        write("gb_a", "import gb_helper\n" + gives(0).replace("0 / 255", "gb_helper.VALUE / 255"))
        async with guarded("gb_a:f", options=options) as run:
            run.stream()
            await serving(run, 10)
            write("gb_a", gives(20))
            (project / "gb_helper.py").unlink()
            run.guardian.replace(LoadRequest("saved"))
            second = await until_revision(run, 2)
            assert sorted(os.path.basename(path) for path in second.sources) == ["gb_a.py"]
            run.guardian.revert(1)
            back = await until_revision(run, 3)
            assert back.restores == 1
            assert back.frames_lost <= run.gaps()
            await serving(run, 10)
            assert not (project / "gb_helper.py").exists()
            run.guardian.replace(LoadRequest("saved"))  # and forward again: what is on disk
            await until_revision(run, 4)
            await serving(run, 20)

    async def test_is_refused_where_nothing_is_kept(self, write: WriteModule, options: ReloadOptions) -> None:
        write("gb_b", gives(10))
        async with guarded("gb_b:f", options=options) as run:
            await run.guardian.wait_serving()
            with pytest.raises(RunnerError, match="revision 7 cannot be gone back to"):
                run.guardian.revert(7)


class TestCrash:
    async def test_is_followed_by_what_served_not_by_broken_code_on_disk(
        self, write: WriteModule, options: ReloadOptions
    ) -> None:
        write("cr_a", gives(10))
        async with guarded("cr_a:f", options=options) as run:
            run.stream()
            await serving(run, 10)
            write("cr_a", "def f(:\n")
            run.guardian.replace(LoadRequest("saved"))
            await run.next(LoadFailed)
            assert run.guardian.process is not None
            os.kill(run.guardian.process.pid, signal.SIGKILL)
            load = await until_revision(run, 3)
            assert load.restores == 1
            await serving(run, 10)

    async def test_twice_soon_after_the_start_goes_back_to_the_revision_before(
        self, write: WriteModule, options: ReloadOptions
    ) -> None:
        write("cr_b", gives(10))
        async with guarded("cr_b:f", options=options) as run:
            run.stream()
            await serving(run, 10)
            crash = "import os\nimport itertools\ncount = itertools.count()\n"
            body = gives(20, crash).replace("def f(frame):\n", "def f(frame):\n    if next(count) == 5: os._exit(9)\n")
            write("cr_b", body)
            run.guardian.replace(LoadRequest("saved"))
            await run.next(ProcessExited)
            await run.next(ProcessExited)
            await run.until(lambda: loads(run)[-1].restores == 1)
            await serving(run, 10)
            last = [event for event in run.events if isinstance(event, LoadStarted)][-1]
            assert last.reason == "back to revision 1: revision 3 exited with code 9 twice"


class TestPlan:
    async def test_says_what_was_measured(self, write: WriteModule, options: ReloadOptions) -> None:
        write("pl_a", gives(10))
        async with guarded("pl_a:f", options=options) as run:
            run.stream()
            await serving(run, 10)
            run.guardian.replace(LoadRequest("asked for", whole=True))
            planned = await run.next(LoadPlanned)
            assert planned.plan.level == "process"
            assert planned.plan.way == "overlap"
            assert planned.plan.memory == "RAM"
            assert 0 < planned.plan.needed_bytes < planned.plan.free_bytes
            load = await until_revision(run, 2)
            assert load.memory_before_bytes > 50 << 20
            assert load.memory_after_bytes > 50 << 20

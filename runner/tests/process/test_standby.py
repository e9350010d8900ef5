"""The standby: a process that has done the third-party imports and waits; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runner.live.events import LoadSucceeded, StandbyChanged
from runner.live.process.memory import SystemGauge
from runner.live.process.policy import ReloadOptions
from runner.live.process.revision import LoadRequest
from runner.live.process.template import Template

from ..conftest import WriteModule, children
from .guarded import Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")
STANDBY = ReloadOptions(standby=True, standby_min_free_bytes=0)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a template needs prctl and pidfd_open")

PIPELINE = """\
import torch
import colorsys
import os

VALUE = {value}
print("pid", os.getpid(), "parent", os.getppid(), flush=True)


def f(frame):
    return torch.full_like(frame, VALUE / 255)
"""


async def until_standby(run: Guarded, state: str) -> StandbyChanged:
    await run.until(lambda: run.guardian.standby.told.state == state)
    return run.guardian.standby.told


async def until_dropped(run: Guarded, known: int) -> StandbyChanged:
    """Wait for a standby that was dropped after the first `known` events; the next one may be on its way already."""

    def dropped() -> list[StandbyChanged]:
        later = run.events[known:]
        return [event for event in later if isinstance(event, StandbyChanged) and event.state == "dropped"]

    await run.until(dropped)
    return dropped()[0]


def reloads(run: Guarded) -> list[LoadSucceeded]:
    return [event for event in run.events if isinstance(event, LoadSucceeded)]


class TestReloads:
    async def test_take_a_forked_process_and_report_what_is_lost(self, write: WriteModule) -> None:
        write("sb_a", PIPELINE.format(value=10))
        async with guarded("sb_a:f", options=STANDBY) as run:
            run.stream()
            await run.until(lambda: 10 in run.values)
            ready = await until_standby(run, "ready")
            assert ready.kind == "fork" if sys.platform == "linux" else "spawn"
            assert ready.memory_bytes > 50 << 20
            assert ready.modules > 500  # torch is among them
            for value in (20, 30, 40):
                write("sb_a", PIPELINE.format(value=value))
                run.guardian.replace(LoadRequest("saved"))
                await run.until(lambda value=value: reloads(run)[-1].revision == value // 10)  # type: ignore[misc]
                await run.until(lambda value=value: value in run.values)  # type: ignore[misc]
                await until_standby(run, "ready")
            assert [load.plan.standby for load in reloads(run)] == ["", *[ready.kind] * 3]
            assert sum(load.frames_lost for load in reloads(run)) <= run.gaps()
            timestamps = [frame.pts for frame in run.outputs]
            assert timestamps == sorted(set(timestamps))

    @on_linux
    async def test_two_at_once_both_come_from_the_template(self, write: WriteModule) -> None:
        write("sb_b", PIPELINE.format(value=10))
        async with guarded("sb_b:f", options=STANDBY) as run:
            run.stream()
            await run.until(lambda: 10 in run.values)
            await until_standby(run, "ready")
            run.guardian.replace(LoadRequest("saved"))
            await asyncio.sleep(0.02)
            write("sb_b", PIPELINE.format(value=30))
            run.guardian.replace(LoadRequest("saved again"))
            await run.until(lambda: 30 in run.values)
            await run.until(lambda: reloads(run)[-1].revision == 3)
            assert reloads(run)[-1].plan.standby == "fork"

    @on_linux
    async def test_a_forked_process_is_a_child_of_the_host_and_its_exit_code_is_known(self, write: WriteModule) -> None:
        write("sb_c", PIPELINE.format(value=10))
        async with guarded("sb_c:f", options=STANDBY) as run:
            run.stream()
            await run.until(lambda: 10 in run.values)
            await until_standby(run, "ready")
            run.guardian.replace(LoadRequest("saved"))
            await run.until(lambda: reloads(run)[-1].revision == 2)
            process = run.guardian.process
            assert process is not None
            assert psutil.Process(process.pid).ppid() == os.getpid()
            assert os.getpgid(process.pid) == process.pid
            assert (await process.dump_stacks()).endswith('  File "<string>", line 1 in <module>')
            os.kill(process.pid, signal.SIGSEGV)
            await run.until(lambda: process.exit)
            assert process.exit is not None
            assert process.exit.code == -signal.SIGSEGV
            await run.until(lambda: reloads(run)[-1].revision == 3)


class TestUserCode:
    async def test_is_never_imported_ahead(self, write: WriteModule, project: Path) -> None:
        write("sb_helper", "open('imports.txt', 'a').write('x')\n")
        write("sb_d", "import sb_helper\n" + PIPELINE.format(value=10))
        async with guarded("sb_d:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            await until_standby(run, "ready")
            assert (project / "imports.txt").read_text() == "x"

    async def test_that_a_third_party_package_pulls_in_is_left_out_with_it(
        self, write: WriteModule, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packages = project.parent / "site-packages"
        packages.mkdir()
        (packages / "thirdparty_plugins.py").write_text("import sb_plugin\n")
        monkeypatch.syspath_prepend(str(packages))
        write("sb_plugin", "open('imports.txt', 'a').write('x')\n")
        write("sb_e", "import thirdparty_plugins\n" + PIPELINE.format(value=10))
        async with guarded("sb_e:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            await until_standby(run, "ready")
            assert (project / "imports.txt").read_text() == "x"


@pytest.mark.spawned
class TestSpawnedStandby:
    async def test_is_used_where_an_import_leaves_a_thread_running(
        self, write: WriteModule, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packages = project.parent / "site-packages"
        packages.mkdir()
        source = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        (packages / "thirdparty_thread.py").write_text(source)
        monkeypatch.syspath_prepend(str(packages))
        write("sb_f", "import thirdparty_thread\n" + PIPELINE.format(value=10))
        async with guarded("sb_f:f", options=STANDBY) as run:
            run.stream()
            await run.until(lambda: 10 in run.values)
            ready = await until_standby(run, "ready")
            assert ready.kind == "spawn"
            write("sb_f", "import thirdparty_thread\n" + PIPELINE.format(value=20))
            run.guardian.replace(LoadRequest("saved"))
            await run.until(lambda: reloads(run)[-1].revision == 2)
            assert reloads(run)[-1].plan.standby == "spawn"
            assert reloads(run)[-1].frames_lost <= run.gaps()
            renewed = len(run.events)
            await run.until(lambda: any(getattr(event, "state", "") == "ready" for event in run.events[renewed - 1 :]))


class Scarce(SystemGauge):
    """The real figures, but for the free RAM, which the test sets."""

    free = 8 << 30

    def free_ram(self) -> int:
        return self.free


class TestMemory:
    async def test_that_is_short_drops_it_and_brings_it_back_later(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runner.live.process.standby.RETRY_S", 0.1)
        write("sb_g", PIPELINE.format(value=10))
        gauge = Scarce()
        options = replace(STANDBY, standby_min_free_bytes=1 << 30)
        async with guarded("sb_g:f", options=options, gauge=gauge) as run:
            await run.guardian.wait_serving()
            await until_standby(run, "ready")
            before = len(children())
            known = len(run.events)
            gauge.free = 512 << 20
            dropped = await until_dropped(run, known)
            assert dropped.reason == "512 MiB of RAM are free, 1024 MiB are to stay free"
            while len(children()) > before - 2:  # template and spare
                await asyncio.sleep(0.01)
            gauge.free = 8 << 30
            await until_standby(run, "ready")


class TestSwitch:
    async def test_ends_it_and_starts_it(self, write: WriteModule) -> None:
        write("sb_h", PIPELINE.format(value=10))
        async with guarded("sb_h:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            await until_standby(run, "ready")
            run.guardian.set_options(standby=False)
            assert run.guardian.standby.told.state == "off"
            while len(children()) > 1:
                await asyncio.sleep(0.01)
            run.guardian.set_options(standby=True)
            await until_standby(run, "ready")

    async def test_off_means_that_there_is_none(self, write: WriteModule) -> None:
        write("sb_i", PIPELINE.format(value=10))
        async with guarded("sb_i:f") as run:
            await run.guardian.wait_serving()
            await asyncio.sleep(1.5)
            assert len(children()) == 1


class TestForgetting:
    async def test_comes_with_a_fresh_process_that_is_asked_for_and_a_new_standby_follows(
        self, write: WriteModule
    ) -> None:
        write("sb_k", PIPELINE.format(value=10))
        async with guarded("sb_k:f", options=STANDBY) as run:
            run.stream()
            await run.until(lambda: 10 in run.values)
            await until_standby(run, "ready")
            before = run.guardian.standby.pids
            run.guardian.replace(LoadRequest("asked for", whole=True))
            await run.until(lambda: reloads(run)[-1].revision == 2)
            assert reloads(run)[-1].plan.standby == ""
            await until_standby(run, "ready")
            assert not set(before) & set(run.guardian.standby.pids)


class TestKills:
    @on_linux
    async def test_of_template_and_spare_are_made_good(self, write: WriteModule) -> None:
        write("sb_j", PIPELINE.format(value=10))
        async with guarded("sb_j:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            serving = run.guardian.process
            assert serving is not None
            await until_standby(run, "ready")
            known = len(run.events)
            for line in children():
                pid = int(line.split()[0])
                if pid != serving.pid:
                    os.kill(pid, signal.SIGKILL)
            await until_dropped(run, known)
            await until_standby(run, "ready")
            assert serving.exit is None

    @on_linux
    @pytest.mark.parametrize("victim", [0, 1], ids=["template", "spare"])
    async def test_of_one_of_them_are_made_good(self, write: WriteModule, victim: int) -> None:
        write("sb_m", PIPELINE.format(value=10))
        async with guarded("sb_m:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            await until_standby(run, "ready")
            before = run.guardian.standby.pids
            known = len(run.events)
            os.kill(before[victim], signal.SIGKILL)
            await until_dropped(run, known)
            await until_standby(run, "ready")
            assert not set(before) & set(run.guardian.standby.pids)
            assert len(run.guardian.standby.pids) == 2

    @on_linux
    async def test_of_a_template_that_has_just_forked_leaves_no_half_of_one(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("sb_l", PIPELINE.format(value=10))
        fork = Template.fork
        victims: list[int] = []

        async def fork_and_die(self: Template, *, verbose: bool) -> object:
            forked = await fork(self, verbose=verbose)
            if not victims:
                victims.append(self.pid)
                self.kill()
                while psutil.pid_exists(self.pid):
                    await asyncio.sleep(0.001)
            return forked

        async with guarded("sb_l:f", options=STANDBY) as run:
            await run.guardian.wait_serving()
            ready = await until_standby(run, "ready")
            monkeypatch.setattr(Template, "fork", fork_and_die)
            for pid in run.guardian.standby.pids:  # so that the next failure is not the first
                os.kill(pid, signal.SIGKILL)
            while (told := run.guardian.standby.told) is ready or told.state != "ready" or len(children()) != 3:
                await asyncio.sleep(0.01)
            assert len(run.guardian.standby.pids) == 2
            assert victims[0] not in run.guardian.standby.pids

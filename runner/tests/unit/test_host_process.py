"""HostProcess: what is told of a host's start and end, and that nothing of it stays. With small real processes."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.live import host_process
from runner.live.host_process import HostProcess, HostStartError
from runner.live.run_folder import RunFolder, sweep_run_folders

PATIENCE_S = 60.0
LISTENING = 'print(json.dumps({"listening": "unix:x"}), flush=True)\n'
IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAITS = "sys.stdin.read()\n"
BESIDE = """
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(json.dumps({"revision": 1, "process": child.pid}), flush=True)
"""
# As a process that `multiprocessing` has just spawned when the host is killed: it finds nothing to read.
SPAWNING = """
print("says this", file=sys.stderr, flush=True)
ours, theirs = os.pipe()
if os.fork() == 0:
    os.close(theirs)
    assert os.read(ours, 1), "ran out of input"
"""


class Starts:
    """Starts hosts that are a few lines of Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.cleaned = 0

    def _clean(self) -> None:
        self.cleaned += 1

    async def __call__(self, source: str, **options: Any) -> HostProcess:
        script = self.folder / "script.py"
        script.write_text("import json, os, signal, subprocess, sys, time\n" + textwrap.dedent(source))
        command = [sys.executable, str(script)]
        return await HostProcess.start(command, on_line=self.lines.append, clean=self._clean, **options)


@pytest.fixture
def start(tmp_path: Path, nothing_left: None) -> Starts:  # noqa: ARG001
    return Starts(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), PATIENCE_S)


def _sleeps(process: psutil.Process) -> bool:
    try:
        return "sleep" in process.cmdline()
    except psutil.Error:  # gone meanwhile
        return False


class TestStart:
    async def test_of_one_that_is_killed_tells_nothing_of_what_it_was_spawning(self, start: Starts) -> None:
        with pytest.raises(HostStartError) as caught:
            await start(SPAWNING + "os.kill(os.getpid(), signal.SIGKILL)")
        assert str(caught.value) == "the runner host was killed by SIGKILL"
        assert caught.value.last_said == "says this"
        assert start.lines == ["says this"]

    async def test_it_waits_until_the_host_listens(self, start: Starts) -> None:
        called: list[str] = []
        host = await start(
            IGNORES + "print('hello', file=sys.stderr)\nprint('no fact')\n" + LISTENING + WAITS,
            meanwhile=lambda: called.append("meanwhile"),
            env={**os.environ, "LC_ALL": "C"},
        )
        assert (called, host.exit_reason, host.exited.is_set()) == (["meanwhile"], "", False)
        await until(lambda: start.lines == ["hello"])
        await host.close()
        assert (host.exit_reason, start.cleaned > 0) == ("exited with code 0", True)

    async def test_one_that_ends_before_says_what_it_said(self, start: Starts) -> None:
        with pytest.raises(HostStartError, match="the runner host exited with code 7") as raised:
            await start("print('x' * 200_000, file=sys.stderr)\nprint('the reason', file=sys.stderr)\nsys.exit(7)")
        assert raised.value.last_said.splitlines()[-1] == "the reason"
        assert "a line too long to show" in raised.value.last_said

    async def test_one_that_says_nothing_is_given_up(self, start: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host_process, "START_LIMIT_S", 0.3)
        with pytest.raises(HostStartError, match="did not answer within 0 s"):
            await start(WAITS)

    async def test_an_interpreter_that_is_not_there(self, start: Starts) -> None:
        with pytest.raises(HostStartError, match="cannot start /no/python: No such file"):
            await HostProcess.start(["/no/python"], on_line=start.lines.append, clean=start._clean)
        assert start.cleaned == 1

    async def test_a_start_that_is_cancelled_leaves_nothing(self, start: Starts) -> None:
        starting = asyncio.create_task(start(BESIDE + WAITS))
        await until(lambda: any(map(_sleeps, psutil.Process().children(recursive=True))))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    @pytest.mark.parametrize("rounds", [0, 1, 2, 5])
    async def test_one_that_is_cancelled_at_once_leaves_nothing(self, start: Starts, rounds: int) -> None:
        starting = asyncio.create_task(start(BESIDE + WAITS))
        for _ in range(rounds):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting


class TestEnd:
    async def test_standard_input_that_closes_is_enough(self, start: Starts) -> None:
        host = await start(IGNORES + LISTENING + WAITS)
        await host.close()
        assert host.exit_reason == "exited with code 0"

    async def test_one_that_does_not_let_go_is_killed(self, start: Starts) -> None:
        host = await start(IGNORES + LISTENING + "time.sleep(1000)")
        await host.close(0.2)
        assert host.exit_reason == "was killed by SIGKILL"
        await host.close()

    async def test_what_a_dead_host_leaves_running_is_ended(self, start: Starts) -> None:
        host = await start(BESIDE + LISTENING + WAITS)
        await until(lambda: bool(host._pipeline_groups))
        (below,) = psutil.Process(host.pid).children()
        host.kill()
        await asyncio.wait_for(host.exited.wait(), PATIENCE_S)
        assert host.exit_reason == "was killed by SIGKILL"
        await until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE)

    async def test_numbers_that_are_no_processes_own_are_left_alone(self, start: Starts) -> None:
        told = 'for pid in (0, 1, -5, "7", None): print(json.dumps({"revision": 1, "process": pid}))\n'
        host = await start(told + LISTENING + WAITS)
        assert host._pipeline_groups == {}
        await host.close()


class TestRunFolder:
    @pytest.fixture(autouse=True)
    def temporary(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short: a socket's name has to go into it
            monkeypatch.setattr(tempfile, "tempdir", folder)
            yield Path(folder)

    def test_it_is_private_and_goes(self, temporary: Path) -> None:
        folder = RunFolder("test-")
        assert folder.path.parent == temporary
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        folder.socket.touch()
        folder.remove()
        folder.remove()
        assert list(temporary.iterdir()) == []

    def test_a_long_temporary_folder_has_no_room_for_a_socket(
        self, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep = temporary / ("x" * 100)
        deep.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        folder = RunFolder("test-")
        try:
            assert folder.path.parent == Path("/tmp")
        finally:
            folder.remove()

    def test_those_of_killed_processes_are_swept(self, temporary: Path) -> None:
        def made(pid: int, *, old: bool) -> Path:
            folder = temporary / f"test-{pid}-{'old' if old else 'new'}"
            folder.mkdir()
            if old:
                os.utime(folder, (1, 1))
            return folder

        gone_pid = 2**22 + 1  # above the largest number that Linux gives
        kept = [made(os.getpid(), old=True), made(gone_pid, old=False)]
        swept = made(gone_pid, old=True)
        other = temporary / "test-x"
        other.mkdir()
        sweep_run_folders("test-")
        assert not swept.exists()
        assert all(folder.exists() for folder in [*kept, other])

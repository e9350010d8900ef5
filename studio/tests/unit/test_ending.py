"""The way out of a process: it is taken once, has a limit, and takes the children with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ai_runner_studio.cli.signals import run_until_signal
from ai_runner_studio.ending import Ending
from ai_runner_studio.interruption import ENDING_SIGNALS, Interrupted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
PATIENCE_S = 60.0
STUCK = """
import subprocess, threading, time
from ai_runner_studio.ending import Ending
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
ending = Ending(0.05)
ending.kills += [lambda: 1 / 0, child.kill]
threading.Thread(target=time.sleep, args=(1000,)).start()
ending.begin(7)
"""


class TestSignalsDuringIt:
    @pytest.mark.parametrize("number", ENDING_SIGNALS)
    def test_a_signal_kills_the_children_and_lets_the_cleaning_end(self, number: signal.Signals) -> None:
        done: list[str] = []
        ending = Ending(force=lambda _code: None)

        async def main() -> str:
            killed = asyncio.Event()
            ending.kills.append(killed.set)
            ending.begin()  # as by a key
            signal.raise_signal(number)
            await killed.wait()
            done.append("cleaned")
            return "left"

        assert run_until_signal(main(), ending) == "left"
        assert done == ["cleaned"]

    def test_after_a_first_signal_others_do_not_cancel_the_cleaning(self) -> None:
        done: list[str] = []
        ending = Ending(force=lambda _code: None)

        async def main() -> None:
            killed = asyncio.Event()
            ending.kills.append(killed.set)
            try:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.Event().wait()
            finally:
                assert ending.begun
                for number in ENDING_SIGNALS:
                    signal.raise_signal(number)
                await killed.wait()
                done.append("cleaned")

        with pytest.raises(Interrupted, match="SIGTERM"):
            run_until_signal(main(), ending)
        assert done == ["cleaned"]


def test_after_the_limit_the_process_and_its_children_are_gone() -> None:
    stuck = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, timeout=PATIENCE_S, check=False)
    assert stuck.returncode == 7, stuck.stderr
    child = int(stuck.stdout)
    deadline = time.monotonic() + PATIENCE_S
    while runs(child) and time.monotonic() < deadline:  # a kill takes effect a little later
        time.sleep(0.01)
    assert not runs(child)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_before_a_command_runs_shows_no_traceback() -> None:
    code = "import os, signal, sys; import ai_runner_studio.__main__ as edge\n" + (
        "edge.run = lambda _words: signal.raise_signal(signal.SIGINT)\nedge.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")

"""Nothing that a keeper runs outlives it, or whoever asked for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import comfyui_pipeline

from .running_double import left

KEEPER = Path(comfyui_pipeline.__file__).with_name("keeper.py")
PATIENCE_S = 60.0
# Says its number and that of a process that it has started, and waits for ever.
FAMILY = """
import os, signal, subprocess, sys, time
{before}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
{after}
time.sleep(600)
"""

Keep = Callable[..., tuple["subprocess.Popen[str]", list[psutil.Process]]]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Starts a keeper with a family below it: the keeper, and the family's processes."""
    keepers: list[subprocess.Popen[str]] = []

    def start(before: str = "", after: str = "") -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        command = [sys.executable, str(KEEPER), sys.executable, "-c", FAMILY.format(before=before, after=after)]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        keepers.append(keeper)
        assert keeper.stdout is not None
        family = []
        for number in keeper.stdout.readline().split():
            with suppress(psutil.NoSuchProcess):  # a command that ends at once may have gone with all it has started
                family.append(psutil.Process(int(number)))
        return keeper, family

    yield start
    for keeper in keepers:
        with keeper:
            keeper.kill()


class TestKeeper:
    @pytest.mark.quick
    def test_the_end_of_its_input_ends_the_family(self, keep: Keep) -> None:
        keeper, family = keep()
        assert keeper.stdin is not None
        keeper.stdin.close()
        assert keeper.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert left(family) == []

    def test_sigterm_ends_the_family(self, keep: Keep) -> None:
        keeper, family = keep()
        keeper.terminate()
        assert keeper.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert left(family) == []

    def test_one_that_does_not_listen_is_made_to(self, keep: Keep) -> None:
        keeper, family = keep(before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
        keeper.terminate()
        assert keeper.wait(PATIENCE_S) == 128 + signal.SIGKILL
        assert left(family) == []

    def test_what_a_command_leaves_running_ends_with_it(self, keep: Keep) -> None:
        keeper, family = keep(after="sys.exit(7)")
        assert keeper.wait(PATIENCE_S) == 7
        assert left(family) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told by Linux alone")
    def test_the_command_goes_with_a_keeper_that_is_killed(self, keep: Keep) -> None:
        keeper, (command, child) = keep()
        keeper.kill()
        keeper.wait(PATIENCE_S)
        assert left([command]) == []
        child.kill()  # whom nobody is left to tell
        assert left([child]) == []

    def test_a_ctrl_c_is_for_whoever_started_it(self, keep: Keep) -> None:
        keeper, family = keep()
        keeper.send_signal(signal.SIGINT)
        assert family[0].is_running()
        keeper.terminate()
        assert keeper.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert left(family) == []

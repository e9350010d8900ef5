"""Whether a debugger is at work: of Python, and of native code."""

from __future__ import annotations

import bdb
import ctypes
import subprocess
import sys
import threading

import pytest

from runner.live.process.debugging import is_debugged, is_traced

PTRACE_SEIZE = 0x4206


class Stopped(bdb.Bdb):
    """Stops at its first line, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    def user_line(self, _frame: object) -> None:
        self.reached.set()
        self.go.wait()
        self.set_continue()


def test_a_thread_that_is_stopped_in_a_debugger_counts() -> None:
    debugger = Stopped()
    thread = threading.Thread(target=debugger.runctx, args=("x = 1", {}, {}))
    assert not is_debugged()
    thread.start()
    debugger.reached.wait()
    assert is_debugged()
    debugger.go.set()
    thread.join()
    assert not is_debugged()


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace(2) of Linux")
def test_a_debugger_of_native_code_counts() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert not is_traced(process.pid)
            if ctypes.CDLL(None).ptrace(PTRACE_SEIZE, process.pid, None, None) != 0:
                pytest.skip("ptrace(2) is not allowed here")
            assert is_traced(process.pid)
        finally:
            process.kill()

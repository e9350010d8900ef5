"""The studio on a real pseudo-terminal: what it leaves behind, and what it does when the terminal goes away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE_S = 60.0
PROGRAM = Path(__file__).with_name("scripted_studio.py")


class Screen:
    """The studio's process and our end of its terminal, 100 x 30 cells."""

    def __init__(self) -> None:
        self.parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(child)
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("NO_COLOR", "TMUX", "COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], stdin=child, stdout=child, stderr=child, env=environ
        )
        self.child = child
        self.output = b""

    def read_until(self, text: bytes, limit_s: float = PATIENCE_S) -> None:
        until = time.monotonic() + limit_s
        while text not in self.output:
            assert time.monotonic() < until, f"no {text!r} in {self.output[-500:]!r}"
            if select.select([self.parent], [], [], 0.2)[0]:
                self.output += os.read(self.parent, 65536)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self.parent, self.child):
            try:
                os.close(descriptor)
            except OSError:
                continue  # the test closed it


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.end()


@pytest.mark.parametrize(("key", "code"), [(b"q", 0), (b"\x03", 130)])
def test_leaving_restores_the_terminal(screen: Screen, key: bytes, code: int) -> None:
    screen.read_until("▀".encode())
    os.write(screen.parent, key)
    screen.read_until(b"\x1b[?1049l")
    screen.read_until(b"\x1b[?25h")
    assert screen.process.wait(PATIENCE_S) == code
    assert termios.tcgetattr(screen.child) == screen.before
    assert b"Traceback" not in screen.output


def test_it_ends_when_its_terminal_is_closed(screen: Screen) -> None:
    screen.read_until("▀".encode())
    os.close(screen.child)
    os.close(screen.parent)
    assert screen.process.wait(PATIENCE_S) != 0


def test_ctrl_z_suspends_and_fg_resumes(screen: Screen) -> None:
    screen.read_until(b"ONLINE")
    os.write(screen.parent, b"\x1a")
    screen.read_until(b"\x1b[?1049l")
    state = os.waitpid(screen.process.pid, os.WUNTRACED)[1]
    assert os.WIFSTOPPED(state)
    assert termios.tcgetattr(screen.child)[3] & termios.ICANON
    screen.output = b""
    os.kill(screen.process.pid, signal.SIGCONT)
    screen.read_until(b"ONLINE")
    os.write(screen.parent, b"q")
    screen.read_until(b"\x1b[?1049l")
    assert screen.process.wait(PATIENCE_S) == 0

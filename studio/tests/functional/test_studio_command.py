"""The screen's command on a terminal of its own: it opens, ends on a key or a signal, and leaves nothing behind."""

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0
ALTERNATE_SCREEN, NORMAL_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
INVERT = "def invert(frame, params):\n    return 1 - frame\n"


class OnTerminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, *arguments: str, cwd: Path, columns: int = 120, rows: int = 36, **environ: str) -> None:
        self.written = b""
        self.terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self.terminal)
        clean = {key: value for key, value in os.environ.items() if "_IMPORT" not in key and key != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ai_runner_studio", *arguments],
            cwd=cwd,
            env=clean | {"TERM": "xterm-256color"} | environ,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)

    def read_until(self, text: bytes) -> bool:
        """Read what is written until `text` is in it; False if the command ended or the time was up."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.written and time.monotonic() < deadline:
            if not self._read():
                break
        return text in self.written

    def wait(self) -> int:
        """Read to the end; the exit code."""
        self.read_until(b"(never written)")
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def _read(self) -> bool:
        if not select.select([self.terminal], [], [], 1.0)[0]:
            return True
        try:
            chunk = os.read(self.terminal, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        self.written += chunk
        return bool(chunk)


@contextmanager
def on_terminal(*arguments: str, **options: Any) -> Iterator[OnTerminal]:
    command = OnTerminal(*arguments, **options)
    try:
        yield command
    finally:
        command.close()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[OnTerminal]:
    """The studio with a pipeline that works."""
    (tmp_path / "effects.py").write_text(INVERT)
    words = ("effects:invert", "--input", "pattern:320x240@30", "--preview", "blocks")
    with on_terminal(*words, cwd=tmp_path) as command:
        yield command


def children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pids: list[int]) -> bool:
    """Whether all of these processes end within five seconds."""
    import psutil

    deadline = time.monotonic() + 5.0
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_the_terminal_restored(studio: OnTerminal, number: int, code: int) -> None:
    assert studio.read_until(ALTERNATE_SCREEN)
    assert studio.read_until(b"ONLINE"), studio.written[-2000:]
    processes = children(studio.process.pid)
    os.kill(studio.process.pid, number)
    assert studio.wait() == code
    assert studio.written.rfind(NORMAL_SCREEN) > studio.written.rfind(ALTERNATE_SCREEN)
    assert termios.tcgetattr(studio.terminal) == studio.modes
    assert len(processes) >= 2
    assert gone(processes)


@pytest.mark.parametrize(("key", "code"), [(b"q", 0), (b"\x03", 130)])
def test_a_key_ends_it(studio: OnTerminal, key: bytes, code: int) -> None:
    assert studio.read_until(b"ONLINE"), studio.written[-2000:]
    processes = children(studio.process.pid)
    os.write(studio.terminal, key)
    assert studio.wait() == code
    assert studio.written.rfind(NORMAL_SCREEN) > studio.written.rfind(ALTERNATE_SCREEN)
    assert gone(processes)


class TestBeforeItOpens:
    def test_a_terminal_that_is_too_small_is_refused_with_its_size(self, tmp_path: Path) -> None:
        with on_terminal("a:B", "--input", "pattern", cwd=tmp_path, columns=50, rows=20) as command:
            assert command.wait() == 2
            written = command.written.decode()
        assert "the terminal has 50x20 cells, the studio needs 60x16" in written
        assert "ai-runner-studio run" in written

    def test_a_mistake_is_told_on_the_normal_screen(self, tmp_path: Path) -> None:
        with on_terminal("a:B", "--input", "nothing.mp4", cwd=tmp_path) as command:
            assert command.wait() == 2
            assert b"there is no such file" in command.written
            assert ALTERNATE_SCREEN not in command.written

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [({}, b"\x1b[31merror:\x1b[0m"), ({"NO_COLOR": "1"}, b"error: no"), ({"TERM": "dumb"}, b"error: no")],
    )
    def test_errors_are_coloured_unless_plain_text_was_asked_for(
        self, tmp_path: Path, environ: dict[str, str], expected: bytes
    ) -> None:
        with on_terminal(cwd=tmp_path, **environ) as command:
            assert command.wait() == 2
            assert expected in command.written

    def test_the_least_size_is_the_one_that_the_screen_knows(self) -> None:
        from ai_runner_studio.cli.studio import LEAST_COLUMNS, LEAST_ROWS
        from ai_runner_studio.tui.screens.too_small import LEAST_HEIGHT, LEAST_WIDTH

        assert (LEAST_COLUMNS, LEAST_ROWS) == (LEAST_WIDTH, LEAST_HEIGHT)

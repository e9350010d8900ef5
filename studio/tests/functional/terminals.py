"""A command on a terminal of its own, and what is left of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
ALTERNATE_SCREEN, NORMAL_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


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

    def read_for(self, seconds: float) -> None:
        """Let it write: a terminal that nobody reads holds its program up."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._read(left):
            pass

    def restored(self) -> bool:
        """Whether the terminal is as it was before the command: its modes, and not the alternate screen."""
        same = bool(termios.tcgetattr(self.terminal) == self.modes)
        return same and self.written.rfind(NORMAL_SCREEN) >= self.written.rfind(ALTERNATE_SCREEN)

    def wait(self) -> int:
        """Read to the end; the exit code."""
        self.read_until(b"(never written)")
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def _read(self, timeout_s: float = 1.0) -> bool:
        if not select.select([self.terminal], [], [], timeout_s)[0]:
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


def children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pids: list[int]) -> bool:
    """Wait until all of these processes have exited; False if one has not."""
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(_is_there, pids))


def _is_there(pid: int) -> bool:
    """Return whether a process runs, or has exited and its parent does not take notice."""
    import psutil

    try:
        process = psutil.Process(pid)
        # PID 1 collects orphans when it likes.
        return process.status() != psutil.STATUS_ZOMBIE or process.ppid() != 1
    except psutil.NoSuchProcess:
        return False

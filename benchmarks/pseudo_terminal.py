"""PseudoTerminal: runs a command on a terminal of its own and tells when it wrote what."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from types import TracebackType

_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
_ASKED, _ANSWER = b"\x1b[c", b"\x1b[?62;22c"  # device attributes: a terminal without pictures


class PseudoTerminal:
    """One command, from its start to its end."""

    def __init__(self, command: list[str], folder: Path, *, columns: int, rows: int) -> None:
        self._written = b""
        self._answered = False
        self._terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX")}
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=plain | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def read_until(self, text: bytes, limit_s: float) -> float:
        """Read until `text` has been written; ms from the start of the command to then.

        Raises:
            TimeoutError: it was not, in time or ever.
        """
        deadline = time.perf_counter() + limit_s
        while text not in self._written:
            if time.perf_counter() > deadline or not self._read():
                last = _ESCAPES.sub(b" ", self._written[-8000:]).decode(errors="replace")[-1000:]
                raise TimeoutError(f"{text!r} was not written; the last was {last}")
        return (time.perf_counter() - self._began) * 1000

    def write(self, text: bytes) -> None:
        """As if typed."""
        os.write(self._terminal, text)

    def wait(self, limit_s: float) -> int:
        """Read to the end; the exit code."""
        deadline = time.perf_counter() + limit_s
        while self._read() and time.perf_counter() < deadline:
            self._written = self._written[-100:]
        return self._process.wait(limit_s)

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], 1.0)[0]:
            return True
        try:
            chunk = os.read(self._terminal, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        self._written += chunk
        if _ASKED in self._written and not self._answered:
            self._answered = True
            os.write(self._terminal, _ANSWER)
        return bool(chunk)

"""`breakpoint()` in a pipeline process, which has no terminal: it waits for a debugger on a Unix socket.

The other end is ``python -m runner.attach``.
"""

from __future__ import annotations

import os
import pdb
import shlex
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from . import debugging

_debugger: _SocketDebugger | None = None
_ignored = False


def wait_for_debugger(*_arguments: Any, **_keywords: Any) -> None:
    """Stop in the caller, for `sys.breakpointhook`; wait until a debugger is attached, if none is."""
    global _debugger
    if _ignored:
        return
    frame = sys._getframe(1)
    if _debugger is None:
        _debugger = _SocketDebugger(_accept(frame))
    _debugger.set_trace(frame)


def _accept(frame: FrameType) -> socket.socket:
    with tempfile.TemporaryDirectory(prefix="pdb-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = os.path.join(folder, "socket")
        listening.bind(path)
        listening.listen(1)
        place = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
        attach = shlex.join([sys.executable, "-m", "runner.attach", path])
        debugging.announce(f"{debugging.ANNOUNCED}{place}: waiting for a debugger; attach with: {attach}")
        return listening.accept()[0]


class _SocketDebugger(pdb.Pdb):
    """pdb for whoever is at the other end of a socket. When they leave, the program continues."""

    def __init__(self, connection: socket.socket) -> None:
        lines = connection.makefile("r", encoding="utf-8", errors="backslashreplace")
        output = connection.makefile("w", encoding="utf-8", errors="backslashreplace")
        super().__init__(stdin=lines, stdout=output, nosigint=True, readrc=False)
        self._connection = connection

    def interaction(self, *arguments: Any) -> None:
        try:
            super().interaction(*arguments)
        except OSError:  # the other end is gone
            self.do_EOF("")

    def do_EOF(self, _arg: str) -> bool:
        """Detach: the next `breakpoint()` waits again."""
        global _debugger
        _debugger = None
        self.set_continue()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        return True

    def do_quit(self, arg: str) -> bool:
        """Detach, and ignore `breakpoint()` from now on."""
        global _ignored
        _ignored = True
        return self.do_EOF(arg)

    do_q = do_exit = do_quit

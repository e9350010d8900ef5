"""Debuggers of a pipeline process: whether one is at work, which takes as long as it takes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import FrameType

_BREAKPOINT = f"{__package__}.breakpoint"
HOOK = f"{_BREAKPOINT}.wait_for_debugger"  # value of PYTHONBREAKPOINT
ANNOUNCED = "breakpoint() in "  # start of the message that says how to attach

_STOPPED_IN = ("bdb", "remote_pdb", "web_pdb", "pudb.remote", _BREAKPOINT)
_PYDEVD_WAITS = ("wait_for_client", "_wait_for_attach")


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


announce: Callable[[str], None] = _print


def is_debugged() -> bool:
    """Return whether a thread of this process is stopped in a debugger or waits for one, or one is attached."""
    if _editor_attached():
        return True
    frames, own = sys._current_frames, threading.get_ident()
    return any(
        map(_is_debuggers, chain.from_iterable(_outward(top) for thread, top in frames().items() if thread != own))
    )


def _editor_attached() -> bool:
    debugpy, pydevd = sys.modules.get("debugpy"), sys.modules.get("pydevd")
    if debugpy is not None:  # is started without an editor, too
        return bool(debugpy.is_client_connected())
    return pydevd is not None and pydevd.get_global_debugger() is not None


def _is_debuggers(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    waits = frame.f_code.co_name in _PYDEVD_WAITS and str(name).startswith(("debugpy", "pydevd"))
    return waits or name in _STOPPED_IN


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_traced(pid: int) -> bool:
    """Return whether a debugger of native code (gdb, strace) is attached to a process. Linux."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1]) > 0
    return False

"""Descendants of a pipeline process: all that user code has started, in whatever session, group or orphanage.

Each pipeline process has a label of its own in its environment, which what it starts inherits. Nothing else of a parent
stays with a child that has left its session (``setsid``) and whose parent has exited.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

LABEL_ENV = "AI_RUNNER_PROCESS"  # "RUN-PID"; 0 as the PID until a process has given itself its label
_PID_DIGITS = 10
_ENV_START = 47  # of the fields after the name in /proc/PID/stat: where the environment was at exec; see proc(5)
_ROUNDS = 20  # of looking for what is started while the others are killed
_ROUND_S = 0.01


def new_run() -> str:
    """A label for a runner host and all that it starts."""
    return _label(secrets.token_hex(8), 0)


def join_run() -> str:
    """Have the processes that this one starts be of a run: that of its own label, or a new one. The run's name."""
    label = os.environ.setdefault(LABEL_ENV, new_run())
    return label.partition("-")[0]


def label_this_process() -> None:
    """Give this process, and what it starts from now on, a label of its own."""
    label = _label(join_run(), os.getpid())
    os.environ[LABEL_ENV] = label
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            _relabel_initial_environment(f"{LABEL_ENV}=".encode(), label.encode())


def _label(run: str, pid: int) -> str:
    return f"{run}-{pid:0{_PID_DIGITS}}"


def _relabel_initial_environment(name: bytes, label: bytes) -> None:
    """Other processes see the environment that a process was executed with, and so do they of what it forks."""
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    start, end = int(fields[_ENV_START]), int(fields[_ENV_START + 1])
    block = ctypes.string_at(start, end - start) if 0 < start < end else b""
    at = (b"\0" + block).find(b"\0" + name)
    if at >= 0 and block.find(b"\0", at) == at + len(name) + len(label):
        ctypes.memmove(start + at + len(name), label, len(label))


def children_of(pid: int) -> list[psutil.Process]:
    """What a process has started, and what that has, as far as their parents live."""
    import psutil

    with suppress(psutil.Error):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def kill_descendants(pid: int) -> None:
    """SIGKILL to all that a pipeline process of this run has started. It has ended, and has not been waited for yet."""
    label = _label(join_run(), pid)
    _kill_labelled(lambda process, found: process.pid != pid and found == label)


def kill_run(label: str) -> None:
    """SIGKILL to all processes of the run that began with this label; its host has ended."""
    run = label.partition("-")[0]
    if run:
        _kill_labelled(lambda process, found: found.partition("-")[0] == run and not _is_tracker(process))


def _is_tracker(process: psutil.Process) -> bool:
    """The tracker of `multiprocessing` ends by itself, and removes shared memory before."""
    import psutil

    with suppress(psutil.Error):
        return any("resource_tracker" in part for part in process.cmdline())
    return False


def _kill_labelled(matches: Callable[[psutil.Process, str], bool]) -> None:
    """`matches` gets a process and its label; processes without one are left alone."""
    for _ in range(_ROUNDS):
        found = [process for process, label in _labelled() if matches(process, label)]
        if not found:
            return
        kill_all(found)
        time.sleep(_ROUND_S)


def _labelled() -> Iterator[tuple[psutil.Process, str]]:
    import psutil

    for pid in _pids():
        if pid == os.getpid() or not _may_have_label(pid):
            continue
        with suppress(psutil.Error, OSError):  # of another user, or ended
            process = psutil.Process(pid)
            label = process.environ().get(LABEL_ENV, "")
            if label:
                yield process, label


def _pids() -> list[int]:
    import psutil

    with suppress(OSError, IndexError):  # /proc is hidden
        return list(psutil.pids())
    return []


def _may_have_label(pid: int) -> bool:
    """A first look, which costs a tenth of what psutil does: there may be thousands of processes."""
    if sys.platform != "linux":
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return LABEL_ENV.encode() in environ.read()
    except OSError:
        return False


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to those of them that still run."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):  # ended; psutil never signals another process that has the number by now
            process.kill()

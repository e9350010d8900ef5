"""Launching pipeline processes: spawned by the host itself, or forked by a template that it has spawned.

Either way the host holds a `ChildHandle`: the process is its own child, so that its end is told at
once and its exit code is known. A template's forks are handed over to the host by forking twice, with
the host as the subreaper (``prctl(2)``) that inherits them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from ..project_folder import enter_project
from . import child
from .descendants import join_run
from .messages import Boot

_PR_SET_CHILD_SUBREAPER = 36


class ChildHandle(Protocol):
    """One process that is a child of this one.

    Attributes:
        pid: its number.
        sentinel: a descriptor that becomes readable when it has ended.
    """

    @property
    def pid(self) -> int: ...

    @property
    def sentinel(self) -> int: ...

    def reap(self) -> int:
        """After its end: the exit code, negative for a signal; lets go of everything."""
        ...


@dataclass(slots=True)
class Wires:
    """The host's ends of what it talks with a process through."""

    control: socket.socket
    stdout: Connection
    stderr: Connection

    def close(self) -> None:
        for end in (self.control, self.stdout, self.stderr):
            end.close()


def open_wires(*, verbose: bool, template: bool = False) -> tuple[Wires, Boot]:
    """New wires: the host's ends, and the other ends as the boot of a process."""
    join_run()
    context = multiprocessing.get_context("spawn")
    ours, theirs = socket.socketpair()
    stdout, stdout_writer = context.Pipe(duplex=False)
    stderr, stderr_writer = context.Pipe(duplex=False)
    boot = Boot(theirs, stdout_writer, stderr_writer, os.getpid(), verbose, template)
    return Wires(ours, stdout, stderr), boot


def close_boot(boot: Boot) -> None:
    """Close the ends of a process that has its own copies by now, or will never need them."""
    for end in (boot.control, boot.stdout, boot.stderr):
        end.close()


def spawn(name: str, *, verbose: bool, template: bool = False) -> tuple[ChildHandle, Wires]:
    """A fresh process that runs `child.main`.

    Raises:
        OSError: there is no memory, or no descriptor, for one more process.
    """
    wires, boot = open_wires(verbose=verbose, template=template)
    process = multiprocessing.get_context("spawn").Process(target=child.main, args=(boot,), name=name)
    enter_project()  # the process starts in this one's folder, which may be gone
    try:
        process.start()
    except BaseException:
        wires.close()
        raise
    finally:
        close_boot(boot)
    return SpawnedChild(process), wires


class SpawnedChild:
    """A process that `multiprocessing` has spawned.

    The sentinel of `multiprocessing` is the end of a pipe, whose other end is also held by all that the process has
    forked: as long as one of those lives, an end of the process would not be noticed. So it is a pidfd where there is
    one.
    """

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid = process.pid or 0
        self._pidfd = _open_pidfd(self.pid)
        self.sentinel: int = process.sentinel if self._pidfd is None else self._pidfd

    def reap(self) -> int:
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._process.join(1 if self._pidfd is None else None)
        code = self._process.exitcode or 0
        with suppress(ValueError):  # it has told its end, but cannot be waited for yet
            self._process.close()
        return code


class AdoptedChild:
    """A process that was forked by another one and is ours by now (Linux)."""

    def __init__(self, pid: int) -> None:
        """Raises OSError if there is no such process (any more)."""
        self.pid = pid
        # Where waiting for any process by a descriptor exists, a template exists: see `can_adopt`.
        self.sentinel: int = os.pidfd_open(pid)  # type: ignore[attr-defined,unused-ignore]

    def reap(self) -> int:
        os.close(self.sentinel)
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status)


def can_adopt() -> bool:
    """Whether this process can become the parent of a grandchild; makes it so."""
    pidfd = _open_pidfd(os.getpid())
    if pidfd is None:
        return False
    os.close(pidfd)
    return _set_subreaper(1)


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None without such a process, or without pidfds.

    Linux has them since 5.3; the kernel may be older than Python.
    """
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def stop_adopting() -> None:
    """Be an ordinary process again: what is orphaned below it from now on is not its own to wait for."""
    if sys.platform == "linux":
        _set_subreaper(0)


def _set_subreaper(on: int) -> bool:
    return int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, on, 0, 0, 0)) == 0


class Orphans:
    """Lets go of ended processes that this one has inherited and that nobody waits for.

    Whoever waits for a process does so as soon as it has ended: one that is still there at the next look is nobody's.
    """

    def __init__(self) -> None:
        self._seen = 0

    def reap(self) -> None:
        """Look, now and then."""
        with suppress(ChildProcessError):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            pid = found.si_pid if found else 0
            if pid and pid == self._seen:
                os.waitpid(pid, os.WNOHANG)
            self._seen = pid


def reap_group(pgid: int) -> None:
    """Let go of members of a group that have ended and that nobody else waits for: a subreaper inherits them."""
    with suppress(ChildProcessError):
        while os.waitpid(-pgid, os.WNOHANG)[0]:
            pass

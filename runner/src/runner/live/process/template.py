"""Template: the host's handle of a process that imports modules and forks pipeline processes."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ...errors import ProcessError
from ...time_limit import time_limit
from .channel import HostChannel, pack
from .exit import describe_exit
from .launch import AdoptedChild, ChildHandle, Wires, close_boot, open_wires, spawn
from .lines import follow_lines
from .messages import Fork, Forked, Message, Preload, Preloaded
from .process import KILL_GRACE_S

FORK_LIMIT_S = 5.0
IMPORT_LIMIT_S = 300.0
_KEPT_LINES = 10

T = TypeVar("T")


class Template:
    """One template process.

    Attributes:
        pid: of the process.
    """

    def __init__(self) -> None:
        self.pid = 0
        self._on_exit: Callable[[str], None] = _nobody
        self._handle: ChildHandle | None = None
        self._control: socket.socket | None = None  # beside the channel, which cannot send descriptors
        self._channel = HostChannel(self._receive)
        self._preloaded: asyncio.Future[Preloaded] | None = None
        self._forks: deque[asyncio.Future[Forked]] = deque()  # asked for and not answered yet, in that order
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._exited = asyncio.Event()

    async def start(self, on_exit: Callable[[str], None], *, verbose: bool) -> None:
        """Spawn it.

        Args:
            on_exit: called with how it ended, when it has.

        Raises:
            OSError: there is no room for one more process.
        """
        self._on_exit = on_exit
        self._handle, wires = spawn("pipeline-template", verbose=verbose, template=True)
        self.pid = self._handle.pid
        asyncio.get_running_loop().add_reader(self._handle.sentinel, self._reap)
        self._control = wires.control.dup()
        await self._channel.connect(wires.control)
        for reader in (wires.stdout, wires.stderr):
            await follow_lines(reader, self._lines.append)

    async def preload(self, modules: tuple[str, ...]) -> Preloaded:
        """Have it import modules, besides what it has imported before.

        Raises:
            ProcessError: it has ended, or takes too long.
        """
        if self._handle is None:
            raise ProcessError("the template has ended")
        self._preloaded = asyncio.get_running_loop().create_future()
        self._channel.send(Preload(modules))
        return await self._answer(self._preloaded, IMPORT_LIMIT_S)

    async def fork(self, *, verbose: bool) -> tuple[ChildHandle, Wires]:
        """A new process, which has imported what this one has.

        Raises:
            ProcessError, OSError: it did not work.
        """
        wires, boot = open_wires(verbose=verbose)
        answer: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        try:
            self._send_fork([boot.control.fileno(), boot.stdout.fileno(), boot.stderr.fileno()])
            self._forks.append(answer)
            forked = await self._answer(answer, FORK_LIMIT_S)
            if not forked.pid:
                raise ProcessError("the template could not fork")
            return AdoptedChild(forked.pid), wires
        except BaseException:
            wires.close()
            raise
        finally:
            close_boot(boot)

    def _send_fork(self, descriptors: list[int]) -> None:
        if self._handle is None or self._control is None:
            raise ProcessError("the template has ended")
        # Few bytes to a process that waits for them: they go at once.
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._control.sendmsg([pack(Fork())], ancillary)

    async def _answer(self, answer: asyncio.Future[T], limit_s: float) -> T:
        try:
            async with time_limit(limit_s):
                return await answer
        except asyncio.TimeoutError:
            raise ProcessError(f"the template did not answer within {limit_s:.0f} s") from None

    def _receive(self, message: Message) -> None:
        # One that nobody waits for any more keeps its place, so that no other gets its process.
        answer = self._forks.popleft() if isinstance(message, Forked) else self._preloaded
        if answer is not None and not answer.done():
            answer.set_result(message)

    def kill(self) -> None:
        """End it at once. What it has forked goes on."""
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """End it at once, and wait until it has exited; never fails, never hangs."""
        self.kill()
        if self._handle is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(KILL_GRACE_S):
                    await self._exited.wait()

    def _reap(self) -> None:
        assert self._handle is not None
        asyncio.get_running_loop().remove_reader(self._handle.sentinel)
        code, self._handle = self._handle.reap(), None
        self._channel.close()
        if self._control is not None:
            self._control.close()
        self._exited.set()
        error = ProcessError(f"the template {describe_exit(code)}")
        for answer in (self._preloaded, *self._forks):
            if answer is not None and not answer.done():
                answer.set_exception(error)
                answer.exception()  # looked at: nobody may be waiting for it
        last = f": {self._lines[-1]}" if self._lines else ""
        self._on_exit(f"{describe_exit(code)}{last}")


def _nobody(_reason: str) -> None:
    """It has not been started."""

"""HostProcess: one runner host (``python -m runner.live.infer --supervised``), from its start to its end.

Whoever supervises hosts, the studio or the container's HTTP server, starts and ends them through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ProcessError
from ..time_limit import time_limit
from .process.descendants import LABEL_ENV, kill_run, new_run
from .process.exit import describe_exit
from .process.resources import FOLDER_PREFIX
from .project_folder import SAFE_PATH_ENV
from .run_folder import remove_run_folders

if TYPE_CHECKING:
    import psutil

START_LIMIT_S = 60.0  # a cold page cache on a network disk; it usually takes half a second
END_LIMIT_S = 5.0
LAST_LINES = 30
_LONGEST_LINE_BYTES = 1 << 16
_DRAIN_LIMIT_S = 1.0  # for the last lines of a process that has ended
_END_TOLD_S = 0.2  # between the end of a process and the news of it


class HostStartError(ProcessError):
    """A host did not come up.

    Attributes:
        last_said: the last lines that it wrote.
    """

    def __init__(self, message: str, last_said: str = "") -> None:
        super().__init__(message)
        self.last_said = last_said


class HostProcess:
    """One runner host process.

    Attributes:
        pid: of the process.
        exited: set once it has ended and everything it has left behind was ended too.
        exit_reason: how it ended, in words: "exited with code 1", "was killed by SIGKILL"; "" while it runs.
    """

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        protocol: _Protocol,
        on_line: Callable[[str], None],
        clean: Callable[[], None],
        label: str,
    ) -> None:
        """See `start`, which makes them. `label`: of the host and all that it starts, see `process.descendants`."""
        self._transport = transport
        self._protocol = protocol
        self._process = process = asyncio.subprocess.Process(transport, protocol, asyncio.get_running_loop())
        self.pid = process.pid
        self.exited = asyncio.Event()
        self.exit_reason = ""
        self._on_line = on_line
        self._clean = clean
        self._label = label
        self._pipeline_groups: dict[int, psutil.Process] = {}  # each pipeline process leads the group of its number
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listening = asyncio.Event()
        self._reading = asyncio.create_task(self._read_log())
        self._hearing = asyncio.create_task(self._read_facts())
        self._waiting = asyncio.create_task(self._wait())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        on_line: Callable[[str], None],
        clean: Callable[[], None],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> HostProcess:
        """Start a host and wait until it listens.

        Args:
            command: the host's command line; it says ``--supervised`` (or ``--studio``).
            on_line: gets every line that the host itself logs.
            clean: called when the host has ended, before `exited` is set: removes what it used on disk.
            cwd, env: of the process; by default those of this one.
            meanwhile: called once, while the host comes up.

        Raises:
            HostStartError: it did not come up.
        """
        label = new_run()
        env = {**(os.environ if env is None else env), LABEL_ENV: label, **SAFE_PATH_ENV}
        spawning = asyncio.ensure_future(_spawn(command, cwd, env))
        cancelled = False
        try:
            # asyncio, cancelled in the middle of it, waits for pipes that others may hold open: it is let finish.
            while not spawning.done():
                try:
                    await asyncio.shield(spawning)
                except asyncio.CancelledError:
                    cancelled = True
            transport, protocol = spawning.result()
        except BaseException as error:
            clean()
            if isinstance(error, OSError):
                raise HostStartError(f"cannot start {command[0]}: {error.strerror or error}") from error
            raise
        host = cls(transport, protocol, on_line, clean, label)
        try:
            if cancelled:
                raise asyncio.CancelledError
            meanwhile()
            async with time_limit(START_LIMIT_S):
                await host._answering()
        except asyncio.TimeoutError:
            await host.close()
            text = f"the runner host did not answer within {START_LIMIT_S:.0f} s"
            raise HostStartError(text, host.last_said) from None
        except BaseException:
            await host.close()
            raise
        return host

    @property
    def last_said(self) -> str:
        """The last lines that it logged."""
        return "\n".join(self._last_lines)

    async def close(self, limit_s: float = END_LIMIT_S) -> None:
        """End host and pipeline process, in order for `limit_s`, then by force; never hangs. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            if not self.exited.is_set():
                self._process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(limit_s):
                await self.exited.wait()
        self.kill()
        tasks = [self._waiting, self._reading, self._hearing]
        await asyncio.wait(tasks, timeout=_DRAIN_LIMIT_S)
        self._sweep()
        self._transport.close()  # somebody that the host has started may hold the other ends
        await asyncio.wait(tasks, timeout=_DRAIN_LIMIT_S)

    def kill(self) -> None:
        """End the host by force, if it runs; what it leaves behind is ended as well. From any thread."""
        with contextlib.suppress(ProcessLookupError):
            if not self.exited.is_set():
                self._process.kill()

    def kill_all(self) -> None:
        """End the host and all that it has started by force, without waiting for anything. From any thread."""
        self.kill()
        self._sweep()

    async def _answering(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._listening, self.exited)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._listening.is_set() or self.exited.is_set():
            raise HostStartError(f"the runner host {self.exit_reason}", self.last_said)

    async def _read_facts(self) -> None:
        """What the host tells on stdout: each pipeline process that it has started, and that it answers."""
        assert self._process.stdout is not None
        while line := await self._read_line(self._process.stdout):
            try:
                fact = json.loads(line)
            except ValueError:
                continue  # a library that prints
            match fact:
                case {"listening": _}:
                    self._listening.set()
                case {"revision": _, "process": int(pid)} if pid > 1:
                    self._note_group(pid)

    def _note_group(self, pid: int) -> None:
        import psutil

        with contextlib.suppress(psutil.Error):
            # Kept with its time of birth: once it has ended, its number may belong to somebody else.
            self._pipeline_groups[pid] = psutil.Process(pid)

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        while line := await self._read_line(self._process.stderr):
            if line.startswith(b"Traceback") and await self._was_killed():
                return  # of a process that it was just spawning, which finds that nobody is there any more
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            self._on_line(text)

    async def _was_killed(self) -> bool:
        """Whether it has just been ended by force: then it has no traceback of its own to tell."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(_END_TOLD_S):
                await self._protocol.exited.wait()
        return self._process.returncode == -signal.SIGKILL

    @staticmethod
    async def _read_line(stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError:  # longer than the reader's limit: what is there has been thrown away
            return b"(a line too long to show)\n"

    async def _wait(self) -> None:
        await self._protocol.exited.wait()
        code = self._process.returncode or 0
        await asyncio.wait([self._reading, self._hearing], timeout=_DRAIN_LIMIT_S)
        self.exit_reason = describe_exit(code).partition(" (")[0]
        self._sweep()
        self.exited.set()

    def _sweep(self) -> None:
        """After its end, however violent: what the host would have cleaned up."""
        for group, leader in self._pipeline_groups.items():
            if not _is_another(leader):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        self._pipeline_groups.clear()
        kill_run(self._label)
        remove_run_folders(FOLDER_PREFIX, self.pid)
        self._clean()


async def _spawn(
    command: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None
) -> tuple[asyncio.SubprocessTransport, _Protocol]:
    loop = asyncio.get_running_loop()
    return await loop.subprocess_exec(
        lambda: _Protocol(_LONGEST_LINE_BYTES, loop),
        *command,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,  # the host ends when this closes
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor
    )


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Knows of the process's end also when others, which it has started, still hold its pipes open."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit, loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


def _is_another(leader: psutil.Process) -> bool:
    """Whether the number of this process is that of a younger one by now.

    A number stays taken while a group has its name: without a process of that number, what is left is the leader's.
    """
    import psutil

    return psutil.pid_exists(leader.pid) and not leader.is_running()

"""The handle of the runner host: start it in the project's interpreter, talk to it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from runner.live.events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadSucceeded,
    LoadSuperseded,
    ProcessExited,
    decode,
    prepare_decoding,
)
from runner.live.running import is_running

from .errors import HostError, ParamsRefused, StudioError
from .settings import Settings

START_LIMIT_S = 60.0  # a cold page cache on a network disk; it usually takes half a second
END_LIMIT_S = 5.0
REQUEST_LIMIT_S = 20.0
EXIT_TOLD_S = 1.5  # after a process has ended, until it is known how: its last lines are read first
LAST_LINES = 30
LONGEST_SOCKET_NAME = 100  # bytes; Linux takes 107, macOS 103
_RUN_FOLDER = "ai-runner-studio-"


class Host:
    """One runner host process and the connection to it.

    Attributes:
        pid: of the process.
        exited: set once it has ended; `exit_reason` says how.
        snapshots: where it keeps the code of good revisions; gone when it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, on_line: Callable[[str], None]) -> None:
        import httpx

        self.pid = process.pid
        self.exited = asyncio.Event()
        self.exit_reason = ""
        self.snapshots = _snapshots(folder)
        self._process = process
        self._folder = folder
        self._pipeline_groups: dict[int, int] = {}  # process group -> revision that it was started for
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._on_line = on_line
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(folder / "api.sock")),
            base_url="http://host",
            timeout=REQUEST_LIMIT_S,
        )
        self._listening = asyncio.Event()
        self._reading = asyncio.create_task(self._read_log())
        self._hearing = asyncio.create_task(self._read_facts())
        self._waiting = asyncio.create_task(self._wait())

    @classmethod
    async def start(
        cls,
        python: str,
        settings: Settings,
        on_line: Callable[[str], None],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Host:
        """Start a host and wait until it answers.

        Args:
            python: the project's interpreter.
            on_line: gets every line that the host itself logs.
            meanwhile: called once, while the host comes up.

        Raises:
            HostError: it did not come up.
        """
        sweep_run_folders()
        folder = Path(tempfile.mkdtemp(prefix=f"{_RUN_FOLDER}{os.getpid()}-", dir=_base_folder()))
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(python, settings, folder),
                cwd=settings.project,
                stdin=asyncio.subprocess.PIPE,  # the host ends when this closes
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C in the terminal is for the studio
            )
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise HostError(f"cannot start {python}: {error.strerror or error}") from error
            raise
        host = cls(process, folder, on_line)
        try:
            prepare_decoding()
            meanwhile()
            await asyncio.wait_for(host._answering(), START_LIMIT_S)
        except asyncio.TimeoutError:
            await host.close()
            raise HostError(f"the runner host did not answer within {START_LIMIT_S:.0f} s", host._last_said()) from None
        except BaseException:
            await host.close()
            raise
        return host

    async def _answering(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._listening, self.exited)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._listening.is_set() or self.exited.is_set():
            raise HostError(f"the runner host {self.exit_reason}", self._last_said())

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
                case {"revision": int(revision), "process": int(pid)}:
                    # Each pipeline process leads a group of its own, named by its pid.
                    self._pipeline_groups[pid] = revision

    def _last_said(self) -> str:
        return "\n".join(self._last_lines)

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        while line := await self._read_line(self._process.stderr):
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            self._on_line(text)

    @staticmethod
    async def _read_line(stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError:  # longer than the reader's limit: what is there has been thrown away
            return b"(a line too long to show)\n"

    async def _wait(self) -> None:
        code = await self._process.wait()
        await asyncio.wait([self._reading, self._hearing], timeout=1.0)
        self.exit_reason = f"exited with code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        self._sweep()
        self.exited.set()

    def _sweep(self) -> None:
        """After its end, however violent: what the host would have cleaned up."""
        for group in self._pipeline_groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        self._pipeline_groups.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget_ended(self, event: Event) -> None:
        """Forget processes that have ended: their numbers may belong to somebody else by now."""
        match event:
            case LoadSucceeded(revision=revision, pid=serving):
                # Code that was put into a running process leaves it the group of an earlier revision.
                self._forget(lambda group, of: of < revision and group != serving)
            case LoadStarted(revision=revision, serving=None):
                self._forget(lambda _group, of: of < revision)
            case LoadFailed(revision=revision) | LoadSuperseded(revision=revision):
                self._forget(lambda _group, of: of == revision)
            case ProcessExited(pid=pid):
                self._forget(lambda group, _of: group == pid)

    def _forget(self, ended: Callable[[int, int], bool]) -> None:
        groups = self._pipeline_groups.items()
        self._pipeline_groups = {group: revision for group, revision in groups if not ended(group, revision)}

    # ---- talking ---------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Everything the host tells, beginning with what a latecomer must know; ends with the host."""
        import httpx

        try:
            async with self._client.stream("GET", "/api/events", timeout=None) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        event = decode(line.removeprefix("data: "))
                        self._forget_ended(event)
                        yield event
        except httpx.HTTPError:
            return

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the host for something; its answer.

        Raises:
            ParamsRefused: params were refused. StudioError: it was refused for another reason.
            HostError: the host does not answer.
        """
        import httpx

        try:
            answer = await self._client.post(path, json=body)
        except httpx.HTTPError as error:
            with contextlib.suppress(asyncio.TimeoutError):  # it may have ended just now: that says more
                await asyncio.wait_for(self.exited.wait(), EXIT_TOLD_S)
            what = self.exit_reason or f"does not answer ({type(error).__name__})"
            raise HostError(f"the runner host {what}", self._last_said()) from error
        if answer.is_success:
            return answer.json() if answer.headers.get("content-type") == "application/json" else answer.text
        raise _refusal(answer)

    # ---- the end ---------------------------------------------------------------------------

    async def close(self) -> None:
        """End host and pipeline process; never hangs. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            if not self.exited.is_set():
                self._process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.exited.wait(), END_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            if not self.exited.is_set():
                self._process.kill()
        await asyncio.wait([self._waiting, self._reading, self._hearing], timeout=1.0)
        self._sweep()
        await self._client.aclose()


def _command(python: str, settings: Settings, folder: Path) -> list[str]:
    command = [python, "-m", "runner.live.infer", "--studio", "--http-socket", str(folder / "api.sock")]
    command += ["--pipeline-import", settings.pipeline_import]
    if settings.params_import:
        command += ["--params-import", settings.params_import]
    if settings.params:
        command += ["--initial-params", json.dumps(settings.params)]
    command += ["--load-timeout", str(settings.load_timeout_s)]
    if settings.verbose:
        command.append("--verbose")
    return command + (_reload_flags(settings, folder) if settings.reload else [])


def _reload_flags(settings: Settings, folder: Path) -> list[str]:
    """How the host of a session that reloads does it; another one keeps nothing ready."""
    flags = ["--snapshots", str(_snapshots(folder)), "--replace", settings.replace]
    flags += ["--standby-reserve", str(settings.standby_reserve_mb)]
    if settings.keep_weights:
        flags.append("--keep-weights")
    if settings.standby:
        flags.append("--standby")
    return flags


def _snapshots(folder: Path) -> Path:
    return folder / "snapshots"


def _refusal(answer: Any) -> StudioError:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return HostError(f"the runner host answered {answer.status_code}: {answer.text[:200]}")
    if detail.get("kind") == "ParamsError":
        return ParamsRefused(detail["msg"], detail.get("refused", {}))
    return StudioError(detail["msg"])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _base_folder() -> str:
    """Where run folders lie: the temporary folder, unless a socket in it would have too long a name for the system."""
    temporary = tempfile.gettempdir()
    longest = os.path.join(temporary, f"{_RUN_FOLDER}1234567890-12345678", "api.sock")
    return temporary if len(os.fsencode(longest)) < LONGEST_SOCKET_NAME else "/tmp"


def sweep_run_folders() -> None:
    """Remove the run folders of studios that were killed together with their host."""
    for folder in Path(_base_folder()).glob(f"{_RUN_FOLDER}*"):
        pid = folder.name.removeprefix(_RUN_FOLDER).split("-")[0]
        old = time.time() - folder.stat().st_mtime > 60 if folder.exists() else False
        if pid.isdigit() and old and not is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)

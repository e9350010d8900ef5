"""The handle of the runner host: start it in the project's interpreter, talk to it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from runner.live.events import Event, LogWritten, decode, prepare_decoding
from runner.live.host_process import HostProcess, HostStartError
from runner.live.run_folder import RunFolder, sweep_run_folders
from runner.module_command import module_command
from runner.time_limit import time_limit

from .errors import HostError, ParamsRefused, StudioError
from .route import route_flags
from .settings import Settings

REQUEST_LIMIT_S = 20.0
EXIT_TOLD_S = 1.5  # after a process has ended, until it is known how: its last lines are read first
_RUN_FOLDER = "ai-runner-studio-"


class Host:
    """One runner host process and the connection to it.

    Attributes:
        pid: of the process.
        exited: set once it has ended; `exit_reason` says how.
        snapshots: where it keeps the code of good revisions; gone when it has ended.
    """

    def __init__(self, process: HostProcess, folder: RunFolder) -> None:
        import httpx

        self.pid = process.pid
        self.exited = process.exited
        self.snapshots = _snapshots(folder.path)
        self._process = process
        self._client = httpx.AsyncClient(
            # Without `verify=False` it reads all certificates of the system, for a socket that has none.
            transport=httpx.AsyncHTTPTransport(uds=str(folder.socket), verify=False),
            base_url="http://host",
            headers={"accept": "application/json"},
            timeout=REQUEST_LIMIT_S,
        )

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

        def prepare() -> None:
            import httpx  # noqa: F401  # a tenth of a second, while there is nothing else to do

            prepare_decoding()
            meanwhile()

        sweep_run_folders(_RUN_FOLDER)
        folder = RunFolder(_RUN_FOLDER)
        try:
            process = await HostProcess.start(
                _command(python, settings, folder.path),
                cwd=settings.project,
                env={**os.environ, "PWD": str(settings.project)},  # its name: a link stays one
                on_line=on_line,
                clean=folder.remove,
                meanwhile=prepare,
            )
        except HostStartError as error:
            raise HostError(str(error), error.last_said) from error
        return cls(process, folder)

    @property
    def exit_reason(self) -> str:
        """How it ended, in words; "" while it runs."""
        return self._process.exit_reason

    # ---- talking ---------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Everything the host tells, beginning with what a latecomer must know; ends with the host."""
        import httpx

        try:
            async with self._client.stream("GET", "/api/events", timeout=None) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield _decoded(line.removeprefix("data: "))
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
                async with time_limit(EXIT_TOLD_S):
                    await self.exited.wait()
            what = self.exit_reason or f"does not answer ({type(error).__name__})"
            raise HostError(f"the runner host {what}", self._process.last_said) from error
        if answer.is_success:
            return answer.json() if answer.headers.get("content-type") == "application/json" else answer.text
        raise _refusal(answer)

    # ---- the end ---------------------------------------------------------------------------

    def kill(self) -> None:
        """End the host and all that it has started at once. From any thread."""
        self._process.kill_all()

    async def close(self) -> None:
        """End host and pipeline process; never hangs. Safe to call twice."""
        await self._process.close()
        await self._client.aclose()


def _command(python: str, settings: Settings, folder: Path) -> list[str]:
    command = [*module_command(python, "runner.live.infer"), "--studio", "--http-socket", str(folder / "api.sock")]
    command += ["--pipeline-import", settings.pipeline_import]
    if settings.params_import:
        command += ["--params-import", settings.params_import]
    if settings.params:
        command += ["--initial-params", json.dumps(settings.params)]
    if settings.typed_params:
        command += ["--typed-params", json.dumps(settings.typed_params)]
    command += ["--load-timeout", str(settings.load_timeout_s)]
    if settings.verbose:
        command.append("--verbose")
    command += route_flags(settings)
    return command + (_reload_flags(settings, folder) if settings.reload else [])


def _reload_flags(settings: Settings, folder: Path) -> list[str]:
    """How the host of a session that reloads does it; another one keeps nothing ready."""
    flags = ["--snapshots", str(_snapshots(folder)), "--replace", settings.replace]
    flags += ["--standby-reserve", str(settings.standby_reserve_mb)]
    if settings.keep_weights:
        flags.append("--keep-weights")
    for function in settings.in_place:
        flags += ["--in-place", function]
    if settings.standby:
        flags.append("--standby")
    return flags


def _decoded(line: str) -> Event:
    """The event of a line; a warning in its place if it cannot be read: the events after it count all the same."""
    try:
        return decode(line)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        return LogWritten(level="WARNING", source="studio", message=f"ignoring an event of the runner host: {reason}")


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

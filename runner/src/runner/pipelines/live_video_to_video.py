"""LiveVideoToVideoPipeline: one live pipeline as the container's HTTP server sees it.

The pipeline runs in a runner host of its own (``python -m runner.live.infer``); this is the host's supervisor.
Whatever happens to the host, the server goes on to answer: a host that dies is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..errors import ProcessError, RunnerError
from ..live.host_process import HostProcess, HostStartError
from ..live.network_settings import NetworkSettings
from ..live.pipelines import PipelineSpec
from ..live.process.status import last_event
from ..live.run_folder import RunFolder, sweep_run_folders
from ..live.streamer.protocol.leftover import Leftover
from ..live.trickle.address import StreamAddresses
from ..module_command import module_command
from ..time_limit import time_limit
from .host_client import HostClient

Health = Literal["LOADING", "OK", "ERROR", "IDLE"]
HEALTH_WORDS = cast("tuple[Health, ...]", get_args(Health))

MAX_RESTARTS = 3  # contract part 4: the 4th exit is for good
RESTART_PAUSE_S = 0.5  # before the first restart; doubles with each
UP_LIMIT_S = 8.0  # for a host that is just starting, when it is asked for a stream
START_LIMIT_S = 30.0  # for the beginning of a stream: the pipeline takes its params, channels are opened
PARAMS_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
ASK_LIMIT_S = 2.0  # the network waits 5 s for an answer to /health
STATUS_KEPT_S = 10.0  # an older status is not told any more when the host does not answer
ASK_EVERY_S = 5.0
HUNG_AFTER_S = 30.0  # a host that has not answered for so long is ended by force
LAST_STREAM_LIMIT_S = 1.5  # for the running stream, when all is ended
LAST_CHANNELS_LIMIT_S = 0.5  # for the channels of a host that did not end in order
END_LIMIT_S = 4.8  # for the host; it takes 4.5 s itself before it gives up on an orderly end

_RUN_FOLDER = "ai-runner-app-"
_HEALTH: dict[str, Health] = {"LOADING": "LOADING", "OFFLINE": "IDLE", "ERROR": "ERROR"}  # all else: OK

logger = logging.getLogger(__name__)


class NotReadyError(ProcessError):
    """There is no host to ask just now: it starts, or it ends. Asking again later may help."""


class LiveVideoToVideoPipeline:
    """One pipeline, served by a runner host that is kept running.

    Attributes:
        name: of the network's pipeline, ``live-video-to-video``.
        model_id: the name of the spec.
        version: what `VERSION` says, else ``undefined``.
        restarts: how often the host was started again.
        failed: set when the host has ended for good.
        on_line: gets every line that the host logs; by default it goes to standard error.
    """

    name = "live-video-to-video"

    def __init__(self, pipeline_spec: PipelineSpec) -> None:
        self.pipeline_spec = pipeline_spec
        self.model_id = pipeline_spec.name
        self.version = os.environ.get("VERSION") or "undefined"
        self.restarts = 0
        self.failed = asyncio.Event()
        self.on_line: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
        self._folder: RunFolder | None = None
        self._client: HostClient | None = None
        self._host: HostProcess | None = None
        self._up = asyncio.Event()  # a host listens
        self._closing = asyncio.Event()
        self._starting = asyncio.Lock()
        self._starts = 0  # streams that are being started, or wait for it
        self._began_s = 0.0  # when the latest stream was begun
        self._told: _Told | None = None
        self._telling: asyncio.Task[_Told] | None = None
        self._answered_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing_channels: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None

    # ---- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to start the host; returns at once. `health` says LOADING until it and the pipeline are there."""
        if self._tasks:
            return
        sweep_run_folders(_RUN_FOLDER)
        self._folder = RunFolder(_RUN_FOLDER)
        self._client = HostClient(self._folder.socket)
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._watch())]

    def refuse_streams(self) -> None:
        """From now on no stream is started; those that wait for it are refused."""
        self._closing.set()

    async def close(self) -> None:
        """End the stream, the host and the pipeline process, in less than 7 s. Safe to call twice."""
        self.refuse_streams()
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._up.is_set():
            with contextlib.suppress(RunnerError):
                await self._ready_client().stop(LAST_STREAM_LIMIT_S)
        for task in self._tasks:
            task.cancel()  # which ends a host that is just starting
        if self._host is not None:
            await self._host.close(END_LIMIT_S)
            self._close_channels("the runner was shut down")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._closing_channels:
            await asyncio.wait(self._closing_channels, timeout=LAST_CHANNELS_LIMIT_S)
            for task in self._closing_channels:
                task.cancel()
        if self._telling is not None:
            self._telling.cancel()
        if self._client is not None:
            await self._client.close()
        if self._folder is not None:
            self._folder.remove()

    def kill(self) -> None:
        """End the host by force, from any thread; its processes end with it."""
        if self._host is not None:
            self._host.kill()

    async def _supervise(self) -> None:
        """Keep a host running until it has ended too often."""
        while True:
            try:
                host = self._host = await self._start_host()
            except HostStartError as error:
                reason = str(error)
            else:
                self._answered_s = time.monotonic()
                self._up.set()
                await host.exited.wait()
                reason = f"the runner host {host.exit_reason}"
                self._close_channels(reason)
            self._up.clear()
            self._told = None
            if self.restarts == MAX_RESTARTS:
                logger.error("%s; it was restarted %d times, that was the last", reason, self.restarts)
                self.failed.set()
                return
            pause_s = RESTART_PAUSE_S * 2**self.restarts
            logger.error("%s; it is started again in %.1f s", reason, pause_s)
            await asyncio.sleep(pause_s)
            self.restarts += 1

    async def _start_host(self) -> HostProcess:
        assert self._folder is not None
        socket = self._folder.socket
        command = [*module_command(sys.executable, "runner.live.infer"), "--supervised", "--http-socket", str(socket)]
        command += ["--run-folder", str(self._folder.path), "--pipeline", self.pipeline_spec.model_dump_json()]
        return await HostProcess.start(
            command,
            env=_host_env(os.environ),
            on_line=self.on_line,
            clean=lambda: socket.unlink(missing_ok=True),
        )

    def _close_channels(self, reason: str) -> None:
        """Begin to close what a host left open that was killed: readers are not to wait for the next one."""
        assert self._folder is not None
        if channels := Leftover(self._folder.path).take():
            network = NetworkSettings.from_env(os.environ)
            closing = channels.close(
                last_event(self.model_id, reason), StreamAddresses(network.allow), verify_tls=network.verify_tls
            )
            task = asyncio.create_task(closing)
            self._closing_channels.add(task)
            task.add_done_callback(self._closing_channels.discard)

    async def _watch(self) -> None:
        """End a host that runs but answers nobody, as if it had died."""
        in_vain = 0  # twice at least: this process itself may have been held up
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if not self._up.is_set():
                continue
            try:
                await self._ask_status()
                in_vain = 0
            except RunnerError:
                in_vain += 1
            if self._up.is_set() and in_vain > 1 and time.monotonic() - self._answered_s > HUNG_AFTER_S:
                logger.error("the runner host has not answered for %.0f s and is ended by force", HUNG_AFTER_S)
                self.kill()

    # ---- the stream --------------------------------------------------------------------------

    async def start_stream(
        self,
        subscribe_url: str,
        publish_url: str,
        control_url: str = "",
        events_url: str = "",
        params: dict[str, Any] | None = None,
        request_id: str = "",
        manifest_id: str = "",
        stream_id: str = "",
    ) -> None:
        """Begin a stream between trickle channels, in the place of the one that runs.

        Of several starts at once each waits for the one before it; the last one's stream stays.

        Raises:
            StreamError: it is refused, with the reason. NotReadyError: no host is there yet, or not any more.
            ProcessError: the host does not answer.
        """
        body = {
            "subscribe_url": subscribe_url,
            "publish_url": publish_url,
            "control_url": control_url,
            "events_url": events_url,
            "params": params or {},
            "request_id": request_id,
            "manifest_id": manifest_id,
            "stream_id": stream_id,
        }
        self._starts += 1
        try:
            async with self._starting:
                await self._unless_closing(self._begin(body))
                self._began_s = time.monotonic()
        finally:
            self._starts -= 1

    async def _begin(self, body: dict[str, Any]) -> None:
        try:
            async with time_limit(UP_LIMIT_S):
                await self._up.wait()
        except asyncio.TimeoutError:
            raise NotReadyError("the runner is still starting; try again in a few seconds") from None
        await self._ready_client().start(body, START_LIMIT_S)

    async def _unless_closing(self, work: Any) -> None:
        """Do it, but not beyond the moment at which all is ended."""
        working = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([working, closing], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise NotReadyError("the runner is shutting down; ask another one")
            working.result()
        finally:
            working.cancel()
            closing.cancel()
            await asyncio.gather(working, closing, return_exceptions=True)

    async def update_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace the params: what is left out falls back to its default.

        Returns:
            all params that are in force now.

        Raises:
            ParamsError: they are refused; the old ones stay. NotReadyError, ProcessError: as `start_stream`.
        """
        return await self._ready_client().params(params, PARAMS_LIMIT_S)

    async def stop_stream(self) -> None:
        """End the stream, if there is one.

        Raises:
            NotReadyError, ProcessError: as `start_stream`.
        """
        await self._ready_client().stop(STOP_LIMIT_S)

    def _ready_client(self) -> HostClient:
        if self._client is None or not self._up.is_set():
            raise NotReadyError("the runner is still starting; try again in a few seconds")
        return self._client

    # ---- what it tells -----------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """The status object of contract 5.2, asked for now.

        Raises:
            NotReadyError, ProcessError: as `start_stream`.
        """
        return (await self._ask_status()).status

    async def health(self) -> Health:
        """In the network's words, in little more than `ASK_LIMIT_S` at most.

        LOADING: host or pipeline are not there yet (again). IDLE: there is no stream. ERROR: neither host nor
        pipeline will come back by themselves.

        Raises:
            ProcessError: the host runs, and has not answered for `STATUS_KEPT_S`.
        """
        if self.failed.is_set():
            return "ERROR"
        if not self._up.is_set():
            return "LOADING"
        try:
            told = await self._ask_status()
        except ProcessError:
            if not self._up.is_set():
                return "LOADING"  # it died while it was asked
            if self._told is None or time.monotonic() - self._told.asked_s > STATUS_KEPT_S:
                raise
            told = self._told
        health = _HEALTH.get(str(told.status.get("state")), "OK")
        # IDLE frees the container for somebody else: never said of the time before the latest start.
        if health == "IDLE" and (self._starts or told.asked_s < self._began_s):
            return "OK"
        return health

    async def metrics_text(self) -> bytes:
        """The host's metrics in Prometheus' text format; empty where it does not answer."""
        try:
            return await self._ready_client().metrics(ASK_LIMIT_S)
        except RunnerError as error:
            logger.debug("no metrics of the host: %s", error)
            return b""

    async def _ask_status(self) -> _Told:
        """The host's status; whoever asks while it is being asked gets the same answer."""
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._read_status(self._ready_client()))
            self._telling.add_done_callback(_looked_at)
        return await asyncio.shield(self._telling)

    async def _read_status(self, client: HostClient) -> _Told:
        asked_s = time.monotonic()
        told = _Told(await client.status(ASK_LIMIT_S), asked_s)
        self._told, self._answered_s = told, time.monotonic()
        return told


class _Told:
    """A status, and when it was asked for."""

    def __init__(self, status: dict[str, Any], asked_s: float) -> None:
        self.status = status
        self.asked_s = asked_s


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Whoever asked may have gone: an error that nobody looks at is none."""
    if not task.cancelled():
        task.exception()


def model_folder(environ: Mapping[str, str]) -> Path:
    """Where models lie: `MODEL_DIR`, or ``~/.lpData/models``."""
    return Path(environ.get("MODEL_DIR") or "~/.lpData/models").expanduser()


def model_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables by which pipelines find models; those that are set stay."""
    folder = str(model_folder(environ))
    names = ("HUGGINGFACE_HUB_CACHE", "DIFFUSERS_CACHE")
    return {"MODEL_DIR": folder, **{name: environ.get(name) or folder for name in names}}


def _host_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The host's environment: ours, without what is for this process alone."""
    ours = ("AUTH_TOKEN", "PIPELINE_IMPORT", "PARAMS_IMPORT", "PREPARE_MODELS", "LIVE_RUNNER_SECRET")
    kept = {name: value for name, value in environ.items() if name not in ours}
    return {**kept, **model_env(environ)}

"""RunnerHost: what one runner host process is made of. The control API is its face.

It joins a guardian (the pipeline process), a streamer (frames in and out) and the hub that tells
what happens. It never imports user code or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
from collections.abc import Coroutine
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import RunnerError
from .api.hub import EventHub
from .events import Event, HostStarted, LoadSucceeded
from .host_log import log_event
from .log import stream_ids
from .pipelines.spec import PipelineSpec
from .process.guardian import ProcessGuardian
from .process.policy import PLAIN_RELOADS, ReloadOptions, RestartPolicy
from .process.revision import LoadRequest
from .process.status import last_event
from .streamer.prometheus import PrometheusMetrics
from .streamer.protocol.leftover import Leftover
from .streamer.protocol.protocol import SourceInfo, StreamProtocol, StreamRequest
from .streamer.streamer import PipelineStreamer
from .trickle.frame import DEFAULT_HEIGHT, DEFAULT_WIDTH

if TYPE_CHECKING:
    from .streamer.protocol.trickle import TrickleOptions


class RunnerHost:
    """One pipeline, guarded, and at most one stream through it.

    Attributes:
        hub: where everything that happens is told.
        guardian: the pipeline process and its replacements.
        streamer: the stream.
        metrics: for Prometheus; None in a studio's host, where nobody asks for them.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        policy: RestartPolicy,
        *,
        options: ReloadOptions = PLAIN_RELOADS,
        trickle: TrickleOptions | None = None,
        run_folder: Path | None = None,
        log: bool = False,
        taps: bool = False,
        verbose: bool = False,
    ) -> None:
        """`trickle`: for streams of the network. `run_folder`: outlives a host that is killed. `log`: what happens."""
        self.hub = EventHub()
        self.guardian = ProcessGuardian(spec, policy, self._emit, options=options, verbose=verbose)
        self.metrics = None if taps else PrometheusMetrics()
        observe = self.metrics.observe if self.metrics else None
        self.streamer = PipelineStreamer(self.guardian, self._emit, taps=taps, observe=observe)
        self.streamer.over = self._stream_over
        self.guardian.stop_stream = lambda reason: self._spawn(self.stop_stream(reason))
        self._trickle = trickle
        self._log = log
        self._leftover = Leftover(run_folder) if run_folder is not None else None
        self._streams = count(1)
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to load the pipeline."""
        self.guardian.start()
        if self._leftover is not None and (channels := self._leftover.take()):
            # Of a host before this one, whose supervisor has not seen to it.
            options = self._trickle_options()
            last = last_event(self.guardian.spec.name, "the runner host was killed")
            self._spawn(channels.close(last, options.addresses, verify_tls=options.verify_tls))

    async def close(self) -> None:
        """End stream and process. Safe to call twice."""
        for task in self._tasks:  # what would begin a stream anew, above all
            task.cancel()
        await self.streamer.close()
        await self.guardian.close()
        self.hub.close()

    def kill(self) -> None:
        """End the pipeline's processes and all that they have started, at once. From any thread."""
        self.guardian.kill()

    def hello(self) -> HostStarted:
        """Who answers here."""
        spec = self.guardian.spec
        return HostStarted(
            version=__version__,
            python=platform.python_version(),
            interpreter=sys.executable,
            pid=os.getpid(),
            pipeline=spec.name,
            pipeline_import=spec.pipeline_cls,
        )

    # ---- streams ---------------------------------------------------------------------------

    async def start_stream(self, request: StreamRequest) -> SourceInfo:
        """Begin a stream in the place of the one that runs, if there is one.

        Raises:
            StreamError: source or sink cannot be opened; what ran goes on where that is possible.
        """
        async with self._changing:
            return await self._start_stream(request)

    async def _start_stream(self, request: StreamRequest) -> SourceInfo:
        named = replace(request, request_id=f"{request.request_id}-{next(self._streams)}")
        try:
            info = await self.streamer.start(named, self._new_protocol(named), *self._input_size())
        except RunnerError as error:
            if self.streamer.request is None:  # else the one that ran goes on
                self.streamer.failed(error)
            raise
        stream_ids(request.request_id, request.manifest_id, request.stream_id)
        if self._leftover is not None and request.protocol == "trickle":
            self._leftover.remember(request)
        return info

    def _stream_over(self) -> None:
        stream_ids()
        if self._leftover is not None:
            self._leftover.forget()

    async def stop_stream(self, reason: RunnerError | None = None) -> None:
        """End the stream at once, if there is one. `reason`: see `PipelineStreamer.stop`."""
        async with self._changing:
            await self.streamer.stop(reason)

    async def begin(self, request: StreamRequest, params: dict[str, Any]) -> SourceInfo:
        """Begin a stream with these params: all of them, as the network gives them.

        Raises:
            ParamsError: refused; what ran goes on.
            StreamError: it cannot be begun.
        """
        async with self._changing:
            self._check_addresses(request)
            self.guardian.check_alive()
            wanted = params or dict(self.guardian.spec.initial_params)
            if params or not self.guardian.has_initial_params:
                await self._take_params(wanted)
            if not params:
                self.guardian.health.params_taken({})  # what was sent, whatever stands for it
            return await self._start_stream(request)

    def _check_addresses(self, request: StreamRequest) -> None:
        """Look at a stream's URLs before anything is changed for it.

        Raises:
            AddressError: one is none, or not allowed.
        """
        if request.protocol == "trickle":
            for url in filter(None, (request.source, request.sink, request.control_url, request.events_url)):
                self._trickle_options().addresses.check(url)

    async def _take_params(self, params: dict[str, Any]) -> None:
        """Apply them between two streams; the one that runs is held meanwhile, since its size may be another.

        Raises:
            ParamsError: refused; it goes on.
        """
        hold = self.streamer.request is not None and not self.streamer.paused
        if hold:
            self.streamer.pause(True)
        try:
            await self.guardian.update_params(params)
        finally:
            if hold:
                self.streamer.pause(False)

    def _new_protocol(self, request: StreamRequest) -> StreamProtocol:
        if request.protocol == "local":
            from .streamer.protocol.local import LocalProtocol

            return LocalProtocol(request)
        from .streamer.protocol.trickle import TrickleProtocol

        if request.protocol == "trickle":
            return TrickleProtocol(request, self._trickle_options())
        from .streamer.protocol.route import RouteProtocol

        return RouteProtocol(request, self._trickle_options())

    def _trickle_options(self) -> TrickleOptions:
        if self._trickle is None:
            from .streamer.protocol.trickle import TrickleOptions

            self._trickle = TrickleOptions()
        return self._trickle

    def _input_size(self) -> tuple[int, int]:
        params = self.guardian.params_wanted
        return int(params.get("width", DEFAULT_WIDTH)), int(params.get("height", DEFAULT_HEIGHT))

    # ---- params and reload -----------------------------------------------------------------

    async def set_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Apply params (all of them: what is left out falls back to its default).

        A change of the pictures' size ends the running stream and begins it again in the new size.

        Raises:
            ParamsError: refused; the old ones stay in force.
            ProcessError: there is no pipeline to take them, or it does not answer.
            StreamError: the stream cannot be begun again.
        """
        async with self._changing:
            request = self.streamer.request
            width, height = self._input_size()
            if request is None or _size(params, (width, height)) == (width, height):
                return await self.guardian.update_params(params)
            if request.protocol == "trickle":
                self.streamer.check_size(params)
            await self.streamer.stop()
            try:
                return await self.guardian.update_params(params)
            finally:
                await self._start_stream(_plain(request))

    def reload(self, request: LoadRequest) -> None:
        """Load the code that is on disk now, into what serves or beside it."""
        self.guardian.replace(request)

    def _emit(self, event: Event) -> None:
        self.hub.emit(event)
        if self._log:
            log_event(event)
        self.streamer.hear(event)
        if self.metrics is not None:
            self.metrics.hear(event)
        if isinstance(event, LoadSucceeded):
            self._spawn(self._fit_stream())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fit_stream(self) -> None:
        """A stream that began before the pipeline said what size it wants begins again in that size."""
        async with self._changing:
            request = self.streamer.request
            if request is None or self.streamer.size == self._input_size():
                return
            if self.streamer.resize(*self._input_size()):
                return
            await self.streamer.stop()
            with contextlib.suppress(RunnerError):  # told as the end of the stream
                await self._start_stream(_plain(request))


def _size(params: dict[str, Any], otherwise: tuple[int, int]) -> tuple[Any, Any]:
    return params.get("width", otherwise[0]), params.get("height", otherwise[1])


def _plain(request: StreamRequest) -> StreamRequest:
    """The request as it was made, without the number that its stream was given."""
    return replace(request, request_id=request.request_id.rpartition("-")[0])

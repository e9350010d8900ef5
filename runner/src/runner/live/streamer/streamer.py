"""PipelineStreamer: one stream, that is one protocol joined to one guardian."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ...errors import ParamsError, ProcessError, RunnerError, SinkError, SourceError
from ..events import Event, InputDamaged, MetricsTaken, PipelineWarned, StreamEnded, StreamStarted, TapOpened
from ..params_limit import check_params
from ..process.guardian import ProcessGuardian
from ..process.memory import ProcessMemory
from ..process.overlay import LoadingPicture
from ..process.ring import TapWriter
from ..process.status import MediaStatus
from ..trickle.frame import AudioFrame, RawFrame
from .metrics import StreamMetrics
from .protocol.burst import LEEWAY_S, Burst
from .protocol.protocol import ProtocolStatistics, SourceInfo, StreamProtocol, StreamRequest
from .reporter import StreamReporter
from .to_its_end import to_its_end

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METRICS_S = 0.5

ErrorKind = Literal["", "source", "sink", "pipeline"]


class PipelineStreamer:
    """Runs one stream at a time.

    Attributes:
        request: of the running stream, None while there is none.
        paused: frames are not taken from the source.
        over: called when a stream has ended, in whatever way.
    """

    def __init__(
        self,
        guardian: ProcessGuardian,
        emit: Callable[[Event], None],
        *,
        taps: bool = False,
        observe: Callable[[RawFrame], None] | None = None,
    ) -> None:
        """`observe`: gets every output that was delivered, its stamps complete; not its pixels."""
        self.request: StreamRequest | None = None
        self.over: Callable[[], None] = lambda: None
        self._guardian = guardian
        self._emit = emit
        self._observe = observe
        self._taps = {"input": TapWriter(), "output": TapWriter()} if taps else {}
        self._protocol: StreamProtocol | None = None
        self._damage_reported = False
        self._reporter: StreamReporter | None = None
        self._metrics = StreamMetrics()
        self._memory = ProcessMemory()
        self._loading = LoadingPicture()
        self._last_output: NDArray[np.uint8] | None = None
        self._loading_over: NDArray[np.uint8] | None = None
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._size = (0, 0)
        self._task: asyncio.Task[None] | None = None
        self._stopped_by: RunnerError | None = None
        self._metering = asyncio.create_task(self._meter())

    # ---- life ------------------------------------------------------------------------------

    async def start(self, request: StreamRequest, protocol: StreamProtocol, width: int, height: int) -> SourceInfo:
        """Begin a stream; one that runs is stopped.

        Args:
            protocol: not yet opened; belongs to the stream from now on.
            width, height: of the pictures that the pipeline gets, in pixels.

        Raises:
            StreamError: it cannot be opened. A running stream goes on, unless both have the same source or a
                sink, which can be opened only once: then it has been stopped.
        """
        if not self._can_open_beside(request):
            await self.stop()
        protocol.on_return(lambda frame: self._tap("output", frame))
        try:
            info = await protocol.open(width, height)
            await self.stop()
        except BaseException:
            await to_its_end(protocol.close())
            raise
        self._protocol, self.request, self._size = protocol, request, (width, height)
        self._damage_reported = False
        protocol.pause(self.paused)
        self._reporter = StreamReporter(self._guardian, protocol.tell)
        self._metrics = StreamMetrics(lossless=request.policy == "lossless")
        self._guardian.open_stream(request.request_id, lossless=request.policy == "lossless")
        self._emit(_started(request, info, width, height))
        self._task = asyncio.create_task(self._run(request, protocol))
        return info

    def _can_open_beside(self, request: StreamRequest) -> bool:
        running = self.request
        return running is not None and running.source != request.source and not (running.sink or request.sink)

    async def stop(self, error: RunnerError | None = None) -> None:
        """End the running stream at once, if there is one; an unfinished file is not kept.

        `error`: why, where that is something to report; without it the stream was stopped on request.
        Whoever asks while it is ending waits for the same end; who gives up waiting does not cut it short.
        """
        task = self._task
        if task is None:
            return
        self._stopped_by = error
        task.cancel()
        await asyncio.wait([task])
        if self._task is not task:
            return
        self._task = None
        if self._protocol is not None:  # cancelled before it had come to begin
            await self._end(*_stop_reason(error), self._protocol.close())

    async def close(self) -> None:
        """`stop`, and free everything. Safe to call twice."""
        self._metering.cancel()
        await self.stop()
        for tap in self._taps.values():
            tap.close()

    @property
    def paused(self) -> bool:
        return not self._resumed.is_set()

    def pause(self, paused: bool) -> None:
        """Hold the source, or let it go on."""
        self._guardian.pause(paused)
        if self._protocol is not None:
            self._protocol.pause(paused)
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures that the pipeline gets in the running or latest stream."""
        return self._size

    def hear(self, event: Event) -> None:
        """An event of the host: whoever watches the stream is told too."""
        if self._reporter is not None:
            self._reporter.hear(event)

    def resize(self, width: int, height: int) -> bool:
        """Pictures of another size for the pipeline. False where only a new stream can."""
        if self._protocol is None or not self._protocol.resize(width, height):
            return False
        self._size = (width, height)
        return True

    def failed(self, error: RunnerError) -> None:
        """Tell that a stream could not be begun."""
        self._emit(StreamEnded(error=str(error), error_kind=_kind(error)))

    # ---- the stream ------------------------------------------------------------------------

    async def _run(self, request: StreamRequest, protocol: StreamProtocol) -> None:
        error = ""
        kind: ErrorKind = ""
        egress = asyncio.create_task(self._egress(protocol))
        ingress = asyncio.create_task(self._ingress(request, protocol))
        beside = [asyncio.create_task(self._reports()), asyncio.create_task(self._control(protocol))]
        try:
            # Egress ends only by failing: it must not leave ingress waiting for a sink that is gone.
            await asyncio.wait([egress, ingress], return_when=asyncio.FIRST_COMPLETED)
            (egress if egress.done() else ingress).result()
            rest = asyncio.create_task(self._deliver_rest())
            beside.append(rest)
            await asyncio.wait([egress, rest], return_when=asyncio.FIRST_COMPLETED)
            (egress if egress.done() else rest).result()
            await protocol.finish()
        except RunnerError as failure:
            error, kind = str(failure), _kind(failure)
        except asyncio.CancelledError:
            error, kind = _stop_reason(self._stopped_by)
            raise
        except Exception as failure:
            logging.exception("stream failed")
            error, kind = f"{type(failure).__name__}: {failure}", "source"
        finally:
            await self._end(error, kind, _close([egress, ingress, *beside], protocol))

    async def _end(self, error: str, kind: ErrorKind, closing: Coroutine[Any, Any, None]) -> None:
        if error not in ("", "stopped") and self._reporter is not None:  # while the events channel is open
            self._reporter.error(f"stream ended: {error}")
        await to_its_end(closing)
        self._ended(error, kind)

    def _ended(self, error: str, kind: ErrorKind) -> None:
        guardian, protocol = self._guardian, self._protocol
        assert protocol is not None
        self._emit(self._measure())
        self._report_damage(ended=True)
        route = protocol.route
        frames_in, frames_out = protocol.statistics.frames_in, guardian.board.outputs.rate.count
        guardian.board.close_stream()
        self.request = self._protocol = self._reporter = None
        self.over()
        if error != "stopped":
            ended = StreamEnded(
                error=error,
                error_kind=kind,
                frames_in=frames_in,
                frames_out=frames_out,
                latency_ms=self._metrics.latency_ms(whole=True),
                stages_ms=self._metrics.stages_ms(whole=True),
                route=route,
            )
            self._emit(ended)

    async def _ingress(self, request: StreamRequest, protocol: StreamProtocol) -> None:
        burst = Burst()
        async for frame in protocol.frames():
            await self._resumed.wait()
            if isinstance(frame, AudioFrame):
                await protocol.put(frame)
                continue
            if request.policy == "lossless":
                await self._guardian.send(frame)
            elif protocol.networked and burst.lasts(frame) and self._guardian.takes_frames:
                with contextlib.suppress(ProcessError):  # told by the guardian, which sees to it
                    await self._guardian.board.send(frame)
            else:
                if protocol.networked:
                    await self._leeway()
                if not self._offer(frame, protocol):
                    await self._show_loading(frame, protocol)
            self._tap("input", frame)  # last: its copy is not the pipeline's business

    def _offer(self, frame: RawFrame, protocol: StreamProtocol) -> bool:
        """Give it to the pipeline; False while none serves."""
        process = self._guardian.process
        before = process.dropped["superseded"] if process is not None else 0
        offered = self._guardian.board.offer(frame)
        if process is not None:
            protocol.superseded(process.dropped["superseded"] - before)
        return offered

    async def _leeway(self) -> None:
        """Let the pictures before it pass, at both ends of the pipeline, if that is a matter of a moment."""
        until, outputs = time.monotonic() + LEEWAY_S, self._guardian.board.outputs
        while (process := self._guardian.process) is not None and time.monotonic() < until:
            if not process.waiting and outputs.waiting < 2:
                return
            await asyncio.sleep(0.001)

    async def _reports(self) -> None:
        assert self._reporter is not None
        await self._reporter.run()

    async def _control(self, protocol: StreamProtocol) -> None:
        """Params that come along with the stream; a refusal is told the same way back."""
        async for params in protocol.control():
            try:
                check_params(params)
                self.check_size(params)
                await self._guardian.update_params(params)
            except RunnerError as error:
                self._emit(PipelineWarned(revision=self._guardian.loads.count, message=f"params were refused: {error}"))
                if self._reporter is not None:
                    self._reporter.error(f"Error updating params: {error}")

    def check_size(self, params: dict[str, Any]) -> None:
        """Look whether params leave the running stream its size.

        Raises:
            ParamsError: they do not; whoever watches a stream cannot be given another size in the middle of it.
        """
        wanted = {"width": self._size[0], "height": self._size[1]}
        refused = {
            name: f"{params[name]} (the stream has {size})"
            for name, size in wanted.items()
            if params.get(name, size) != size
        }
        if refused:
            raise ParamsError(f"the size cannot change while a stream runs: {refused}", refused)

    async def _egress(self, protocol: StreamProtocol) -> None:
        while True:
            frame = await self._guardian.board.outputs.next()
            await self._deliver(frame, protocol)

    async def _deliver(self, frame: RawFrame, protocol: StreamProtocol) -> None:
        try:
            if not protocol.returns:
                self._tap("output", frame)
            self._keep_output(frame)
            await protocol.put(frame)
            frame.stamps["delivered"] = time.monotonic_ns()
            self._metrics.add(frame)
            if self._observe is not None:
                self._observe(frame)
        finally:
            frame.release()

    async def _deliver_rest(self) -> None:
        await self._guardian.drain()
        while self._guardian.board.outputs.waiting:
            await asyncio.sleep(0.001)

    async def _show_loading(self, frame: RawFrame, protocol: StreamProtocol) -> None:
        """The pipeline is not ready: a picture that says so takes the place of its output."""
        if not self._guardian.show_loading:
            return
        width, height = self._guardian.resolution or self._size
        if self._loading_over is None and self._last_output is not None:
            self._loading_over = self._last_output.copy()
        text = "Loading…" if self._loading_over is None else "Reloading…"
        pixels = self._loading.draw(self._loading_over, width, height, text, self._guardian.loading_s or 0.0)
        picture = replace(frame, pixels=pixels, is_loading_frame=True, stamps=dict(frame.stamps))
        if not protocol.returns:
            self._tap("output", picture)
        await protocol.put(picture)

    def _tap(self, side: Literal["input", "output"], frame: RawFrame) -> None:
        tap = self._taps.get(side)
        if tap is not None and tap.write(frame):
            assert tap.ring is not None
            self._emit(TapOpened(side=side, ring=tap.ring.name))

    def _keep_output(self, frame: RawFrame) -> None:
        """What a loading picture is drawn over; one copy into the same memory each time."""
        self._loading_over = None
        if self._last_output is None or self._last_output.shape != frame.pixels.shape:
            self._last_output = frame.pixels.copy()
        else:
            self._last_output[...] = frame.pixels

    # ---- metrics ---------------------------------------------------------------------------

    async def _meter(self) -> None:
        await asyncio.to_thread(self._memory.prepare)
        while True:
            await asyncio.sleep(METRICS_S)
            self._emit(self._measure())
            if self._protocol is not None:
                self._report_damage(ended=False)

    def _report_damage(self, *, ended: bool) -> None:
        """Emit what of the input could not be read, once a stream."""
        assert self._protocol is not None
        damage = self._protocol.damage
        if damage and not self._damage_reported and (ended or damage.expected is not None):
            self._damage_reported = True
            self._emit(InputDamaged(damage=damage))

    def _measure(self) -> MetricsTaken:
        guardian = self._guardian
        use = self._memory.measure(guardian.process)
        dropped = guardian.board.drops()
        statistics = self._protocol.statistics if self._protocol is not None else ProtocolStatistics()
        dropped += Counter(statistics.dropped)
        media = MediaStatus(decoder=statistics.decoder, encoder=statistics.encoder, max_fps=statistics.max_fps)
        guardian.health.media = media if self._protocol is not None and self._protocol.networked else None
        return MetricsTaken(
            fps_in=round(guardian.board.inputs.fps, 1),
            fps_out=round(guardian.board.outputs.rate.fps, 1),
            latency_ms=self._metrics.latency_ms(),
            stages_ms=self._metrics.stages_ms(),
            frames_in=guardian.board.inputs.count,
            frames_out=guardian.board.outputs.rate.count,
            dropped=dict(dropped),
            memory_bytes=use.memory_bytes,
            vram_bytes=use.vram_bytes,
            vram_total_bytes=use.vram_total_bytes,
            cpu_percent=use.cpu_percent,
            position_s=round(self._metrics.position_s, 3),
            loading_s=guardian.loading_s,
            decoder=statistics.decoder,
            encoder=statistics.encoder,
            max_fps=statistics.max_fps,
            silent_s=round(self._protocol.silent_s, 1) if self._protocol is not None else 0.0,
            route=self._protocol.route if self._protocol is not None else None,
        )


async def _close(tasks: list[asyncio.Task[None]], protocol: StreamProtocol) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await protocol.close()


def _started(request: StreamRequest, info: SourceInfo, width: int, height: int) -> StreamStarted:
    return StreamStarted(
        source=info.name,
        source_width=info.width,
        source_height=info.height,
        width=width,
        height=height,
        fps=info.fps,
        duration_s=info.duration_s,
        frames=info.frames,
        audio=info.audio,
        live=info.live,
        sink=request.sink,
    )


def _stop_reason(error: RunnerError | None) -> tuple[str, ErrorKind]:
    return ("stopped", "") if error is None else (str(error), _kind(error))


def _kind(error: RunnerError) -> ErrorKind:
    if isinstance(error, SourceError):
        return "source"
    return "sink" if isinstance(error, SinkError) else "pipeline"

"""What stays inside while the sink is slow?

    python -m benchmarks.back_pressure [--frames 1000] [--only NAME]

A clip of 30 fps with audio goes through a pipeline that has its own queue, in a process, to a sink that cannot keep up:

- ``sink``: 60 ms per frame.
- ``file``, ``trickle``: the encoder of the output file, or of the network's route, gets a fifth of the rate.
- ``1080p``: a lossless run, as fast as it goes, to a sink of 60 ms per frame.

For the last three seconds of the clip the sink is fast again. Latency is from the decoded frame until the sink is done
with it, while it is slow. Recovered fps are those of the second that starts one second after the sink is fast. Memory
is what the pipeline process has of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import percentiles, publish
from runner.live.streamer.protocol.local import LocalProtocol
from runner.live.streamer.protocol.route import RouteProtocol
from runner.live.trickle.encoder import Encoder
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.segment_encoder import SegmentEncoder

if TYPE_CHECKING:
    import psutil

    from runner.live.events import Event, MetricsTaken
    from runner.live.streamer.protocol.protocol import Policy, SourceInfo, StreamProtocol, StreamRequest
    from runner.live.streamer.streamer import PipelineStreamer

FPS = 30
FAST_S = 3.0  # of the clip, at its end
WARM_UP_S = 5.0  # connections, encoders, and the burst that a stream of the network starts with
SINK_S = 0.06
ENCODER_S = 5 / FPS
SAMPLES_HZ = 48_000
LOOK_S = 0.25
PASS_THROUGH = "runner.live.pipelines.noop:Noop"


@dataclass
class Sink:
    """A pace that changes once, and the frames that were done at it.

    Attributes:
        slow_s: seconds per frame while it is slow. slow_until: monotonic time.
        decoded: pts -> monotonic time. done: when, and how old the frame was, in seconds.
    """

    slow_s: float
    slow_until: float = float("inf")
    decoded: dict[int, float] = field(default_factory=dict)
    done: list[tuple[float, float]] = field(default_factory=list)

    @property
    def pause_s(self) -> float:
        return self.slow_s if time.monotonic() < self.slow_until else 0.0

    def note(self, frame: RawFrame) -> None:
        now = time.monotonic()
        self.done.append((now, now - self.decoded[frame.pts]))

    async def remember(self, frames: AsyncIterator[RawFrame | AudioFrame]) -> AsyncIterator[RawFrame | AudioFrame]:
        async for frame in frames:
            if isinstance(frame, RawFrame):
                self.decoded[frame.pts] = frame.stamps["captured"] / 1e9
            yield frame


class SlowSink(LocalProtocol):
    """Frames to nowhere, slowly."""

    sink: Sink

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        async for frame in self.sink.remember(super().frames()):
            yield frame

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if isinstance(frame, RawFrame):
            await asyncio.sleep(self.sink.pause_s)
            self.sink.note(frame)
        await super().put(frame)


def throttled(encoder: Any, sink: Sink) -> Any:
    """Have an encoder take its time, in its own thread."""
    write = encoder.write

    def slowly(frame: RawFrame | AudioFrame) -> bool:
        written = bool(write(frame))
        if isinstance(frame, RawFrame):
            time.sleep(sink.pause_s)
            sink.note(frame)
        return written

    encoder.write = slowly
    return encoder


class SlowFile(LocalProtocol):
    """A file whose encoder is throttled."""

    sink: Sink

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        async for frame in self.sink.remember(super().frames()):
            yield frame

    async def _open_sink(self, path: str, source: Any) -> None:
        from runner.live.streamer.protocol.recorder import Recorder

        audio, fps = source.audio, source.info.fps
        open_encoder: Callable[[], Any] = lambda: throttled(Encoder(path, audio, fps), self.sink)  # noqa: E731
        self._recorder = Recorder(open_encoder, self.request.policy, self.statistics)
        await self._recorder.open()


class SlowRoute(RouteProtocol):
    """The network's route, where the runner's encoder is throttled."""

    sink: Sink

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        async for frame in self.sink.remember(super().frames()):
            yield frame

    async def open(self, width: int, height: int) -> SourceInfo:
        info = await super().open(width, height)
        output = self._output
        assert output is not None
        open_encoder: Callable[..., SegmentEncoder] = output._open_encoder
        output._open_encoder = lambda *about: throttled(open_encoder(*about), self.sink)  # type: ignore[method-assign]
        return info


@dataclass(frozen=True)
class Case:
    """One run: its name, sink, seconds per frame, frame size, policy, and whether there is an output file."""

    name: str
    protocol: str
    slow_s: float
    size: tuple[int, int] = (512, 512)
    policy: Policy = "newest"
    written: bool = False


CASES = (
    Case("sink", "sink", SINK_S),
    Case("file", "file", ENCODER_S, written=True),
    Case("trickle", "route", ENCODER_S, written=True),
    Case("1080p", "sink", SINK_S, (1920, 1080), "lossless"),
)


def write_clip(path: Path, size: tuple[int, int], seconds: float) -> None:
    """A moving pattern with a tone."""
    import av
    import numpy as np

    from runner.live.trickle.pattern import TestPattern

    pattern = TestPattern(*size, Fraction(FPS))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLES_HZ)
        for number in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(pattern.picture(number % (2 * FPS)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        samples = np.sin(np.arange(round(SAMPLES_HZ * seconds), dtype=np.float32) / 20)[None] * 0.2
        tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        tone.sample_rate, tone.pts = SAMPLES_HZ, 0
        container.mux(audio.encode(tone))
        container.mux(video.encode())
        container.mux(audio.encode())


def audio_s(path: Path) -> float:
    """Seconds of audio in a file."""
    import av

    with av.open(str(path)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


def opened(case: Case, request: StreamRequest, sink: Sink) -> StreamProtocol:
    """The protocol of a case, not opened yet."""
    from runner.live.streamer.protocol.trickle import TrickleOptions
    from runner.live.trickle.address import StreamAddresses

    protocol: SlowSink | SlowFile | SlowRoute
    if case.protocol == "route":
        options = TrickleOptions(max_fps=None, hardware="software", addresses=StreamAddresses())
        protocol = SlowRoute(request, options)
    else:
        protocol = (SlowSink if case.protocol == "sink" else SlowFile)(request)
    protocol.sink = sink
    return protocol


class Run:
    """One case, from a loaded pipeline to the end of the stream."""

    def __init__(self, case: Case, folder: Path, frames: int) -> None:
        self.case = case
        self.folder = folder
        self.slow_s = frames * case.slow_s if case.policy == "lossless" else frames / FPS
        self.clip_s = frames / FPS + FAST_S
        self.sink = Sink(case.slow_s)
        self.metrics: list[MetricsTaken] = []
        self.memory: list[float] = []
        self.over = asyncio.Event()

    async def measure(self) -> dict[str, Any]:
        """Run it; a row of figures."""
        from runner.live.pipelines import PipelineSpec
        from runner.live.process.guardian import ProcessGuardian
        from runner.live.process.policy import PRODUCTION
        from runner.live.streamer.streamer import PipelineStreamer

        guardian = ProcessGuardian(PipelineSpec(pipeline_cls=PASS_THROUGH), PRODUCTION, self._hear)
        guardian.start()
        streamer = PipelineStreamer(guardian, self._hear)
        streamer.over = self.over.set
        try:
            await guardian.wait_serving()
            assert guardian.process is not None
            return await self._stream(streamer, guardian.process.pid)
        finally:
            await streamer.close()
            await guardian.close()

    def _hear(self, event: Event) -> None:
        if event.type == "MetricsTaken" and event.frames_in:
            self.metrics.append(event)
        elif event.type == "StreamEnded" and event.error:
            raise SystemExit(event.error)

    async def _stream(self, streamer: PipelineStreamer, pid: int) -> dict[str, Any]:
        import psutil

        from runner.live.streamer.protocol.protocol import StreamRequest

        clip, out = self.folder / f"{self.case.name}.mp4", self.folder / f"{self.case.name}-out.mp4"
        await asyncio.to_thread(write_clip, clip, self.case.size, self.clip_s)
        lossless = self.case.policy == "lossless"
        sink = str(out) if self.case.written else None
        request = StreamRequest(str(clip), sink, self.case.policy, paced=not lossless)
        process = psutil.Process(pid)
        await streamer.start(request, opened(self.case, request, self.sink), *self.case.size)
        began = time.monotonic()
        self.sink.slow_until = began + self.slow_s
        while not self.over.is_set():
            self._look(process)
            await asyncio.wait([asyncio.ensure_future(self.over.wait())], timeout=LOOK_S)
        end = None if lossless else time.monotonic() - began - self.clip_s
        return self._row(began, end, audio_s(out) if self.case.written else None)

    def _look(self, process: psutil.Process) -> None:
        if time.monotonic() < self.sink.slow_until:
            self.memory.append(process.memory_full_info().uss / 1e6)

    def _row(self, began: float, drain_s: float | None, written_s: float | None) -> dict[str, Any]:
        flip = self.sink.slow_until
        slow = [1000 * age for at, age in self.sink.done if began + WARM_UP_S <= at < flip]
        again = sum(flip + 1 <= at < flip + 2 for at, _ in self.sink.done)
        metrics = self.metrics[-1]
        latency = percentiles(slow)
        settled = self.memory[len(self.memory) // 10 :] or [0.0]
        return {
            "case": self.case.name,
            "frames in": metrics.frames_in,
            "done": len(self.sink.done),
            "dropped": metrics.dropped or "none",
            "p50 ms": round(latency["p50"]),
            "p95 ms": round(latency["p95"]),
            "p95 in frames of the sink": round(latency["p95"] / (1000 * self.case.slow_s), 1),
            "fps recovered": again,
            "memory MB": f"{settled[0]:.0f} -> {max(settled):.0f}",
            "audio s": "" if written_s is None else f"{written_s:.1f} of {self.clip_s:.1f}",
            "drain s": "" if drain_s is None else round(drain_s, 1),
        }


async def main(frames: int, only: str | None) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if only in (None, case.name):
                rows.append(await Run(case, Path(folder), frames).measure())
    publish("back_pressure", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="while the sink is slow (default: %(default)d)")
    parser.add_argument("--only", choices=[case.name for case in CASES])
    options = parser.parse_args()
    asyncio.run(main(options.frames, options.only))

"""A whole stream with a sink that cannot keep up: what is in flight is bounded, and every frame and sample is accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from runner.errors import SinkError
from runner.live.events import Event, StreamEnded
from runner.live.pipelines import PipelineSpec
from runner.live.process.flow_control import OUTPUTS_HELD, WINDOW
from runner.live.process.guardian import ProcessGuardian
from runner.live.process.policy import STUDIO
from runner.live.streamer.protocol import recorder
from runner.live.streamer.protocol.local import LocalProtocol
from runner.live.streamer.protocol.protocol import Policy, StreamProtocol, StreamRequest
from runner.live.streamer.protocol.recorder import Recorder
from runner.live.streamer.streamer import PipelineStreamer
from runner.live.trickle import AudioFrame, RawFrame
from runner.live.trickle.encoder import Encoder

pytestmark = pytest.mark.usefixtures("nothing_left")
FPS, FRAMES, SAMPLES_HZ = 30, 60, 48_000
SIZE = (128, 128)
SLOW_S = 0.08  # more than two intervals of the source
NOOP = "runner.live.pipelines.noop:Noop"
PATIENCE_S = 60.0
MORE = 4  # a window gets larger than needed where the machine is busy elsewhere, twice for 0.1 s
IN_ENCODER = max(recorder._DEPTHS.values())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of grey with a tone."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLES_HZ)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        samples = np.sin(np.arange(SAMPLES_HZ * FRAMES // FPS, dtype=np.float32) / 20)[None] * 0.2
        tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        tone.sample_rate, tone.pts = SAMPLES_HZ, 0
        container.mux(audio.encode(tone))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


class SlowSink(LocalProtocol):
    """Frames to nowhere, slowly.

    Attributes:
        done: called for each frame that the sink is done with.
    """

    done: Callable[[RawFrame], None]

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if isinstance(frame, RawFrame):
            await asyncio.sleep(SLOW_S)
            self.done(frame)
        await super().put(frame)


class SlowFile(SlowSink):
    """A file whose encoder is slow."""

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        await LocalProtocol.put(self, frame)

    async def _open_sink(self, path: str, source: Any) -> None:
        def open_encoder() -> Encoder:
            encoder = Encoder(path, source.audio, source.info.fps)
            write = encoder.write

            def slowly(frame: RawFrame | AudioFrame) -> bool:
                written = write(frame)
                if isinstance(frame, RawFrame):
                    time.sleep(SLOW_S)  # in the encoder's thread
                    self.done(frame)
                return written

            encoder.write = slowly  # type: ignore[method-assign]
            return encoder

        self._recorder = Recorder(open_encoder, self.request.policy, self.statistics)
        await self._recorder.open()


class FailingSink(SlowSink):
    """One that fails at a frame which is delivered after the end of the input."""

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if isinstance(frame, RawFrame) and frame.seq == FRAMES - 1:
            raise SinkError("disk full")
        await super().put(frame)


class Streamed:
    """A stream from the clip to its end.

    Attributes:
        done: pts of the frames that the sink is done with. most: frames in flight at any of these times.
    """

    def __init__(self, path: str) -> None:
        self.done: list[int] = []
        self.most = 0
        self.ended: StreamEnded | None = None
        self._over = asyncio.Event()
        self.guardian = ProcessGuardian(PipelineSpec(pipeline_cls=path), STUDIO, self._hear)
        self.streamer = PipelineStreamer(self.guardian, self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, StreamEnded):
            self.ended = event
            self._over.set()

    def _done(self, frame: RawFrame) -> None:
        process = self.guardian.process
        assert process is not None
        self.most = max(self.most, process.frames_sent - len(self.done))
        self.done.append(frame.pts)

    async def run(self, protocol: type[SlowSink], clip: Path, policy: Policy, out: Path | None = None) -> None:
        request = StreamRequest(str(clip), str(out) if out else None, policy, paced=policy == "newest")
        opened = protocol(request)
        opened.done = self._done
        await self._stream(request, opened)

    async def _stream(self, request: StreamRequest, protocol: StreamProtocol) -> None:
        await self.streamer.start(request, protocol, *SIZE)
        await asyncio.wait_for(self._over.wait(), PATIENCE_S)


@asynccontextmanager
async def streamed(path: str = NOOP) -> AsyncIterator[Streamed]:
    run = Streamed(path)
    run.guardian.start()
    try:
        await asyncio.wait_for(run.guardian.wait_serving(), PATIENCE_S)
        yield run
    finally:
        await run.streamer.close()
        await run.guardian.close()


def audio_samples(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


class TestSlowSink:
    async def test_live_frames_are_dropped_before_inference(self, clip: Path) -> None:
        async with streamed() as run:
            await run.run(SlowSink, clip, "newest")
            dropped = run.guardian.board.drops()
            assert run.guardian.process is not None
            assert run.most <= WINDOW + MORE + OUTPUTS_HELD
            assert len(run.done) == run.guardian.process.frames_sent
            assert dropped["superseded"] > 0
            assert set(dropped) == {"superseded"}
            assert run.done[-1] == max(run.done)

    async def test_lossless_every_frame_comes_out(self, clip: Path) -> None:
        async with streamed() as run:
            await run.run(SlowSink, clip, "lossless")
            assert len(run.done) == FRAMES
            assert run.most <= WINDOW + MORE + OUTPUTS_HELD

    async def test_one_that_fails_at_the_end_ends_the_stream(self, clip: Path) -> None:
        async with streamed() as run:
            await run.run(FailingSink, clip, "lossless")
            assert run.ended is not None
            assert (run.ended.error, run.ended.error_kind) == ("disk full", "sink")


class TestSlowEncoder:
    @pytest.mark.parametrize("policy", ["newest", "lossless"])
    async def test_frames_in_flight_are_bounded_and_audio_is_complete(
        self, clip: Path, tmp_path: Path, policy: Policy
    ) -> None:
        out = tmp_path / "out.mp4"
        async with streamed() as run:
            await run.run(SlowFile, clip, policy, out)
            assert run.ended is not None
            assert run.ended.error == ""
            assert run.most <= WINDOW + MORE + OUTPUTS_HELD + IN_ENCODER
            assert run.guardian.process is not None
            assert len(run.done) == run.guardian.process.frames_sent == run.ended.frames_out
            if policy == "lossless":
                assert len(run.done) == FRAMES
            with av.open(str(out)) as container:
                assert sum(1 for _ in container.decode(video=0)) == len(run.done)
        assert audio_samples(out) >= SAMPLES_HZ * FRAMES // FPS

"""Frames inside a pipeline process are bounded, every frame is accounted for, and nothing deadlocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from runner.live.pipelines import PipelineSpec
from runner.live.process.flow_control import CEILING, OUTPUTS_HELD, WINDOW
from runner.live.process.messages import Message, OutputWarned
from runner.live.process.process import PipelineProcess
from runner.live.trickle import RawFrame

from ..conftest import WriteModule, raw_frame

pytestmark = pytest.mark.usefixtures("nothing_left")
SIZE = (64, 64)
MORE = 4  # a window gets larger than needed where the machine is busy elsewhere, twice for 0.1 s
QUEUE = """
import asyncio
from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoOutput

class Queued(Pipeline):
    def __init__(self):
        self.queue = asyncio.Queue()

    async def initialize(self, **params): pass

    async def put_video_frame(self, frame, request_id):
        self.queue.put_nowait(VideoOutput(frame, request_id))

    async def get_processed_video_frame(self):
        return await self.queue.get()

    async def update_params(self, **params): pass

    @classmethod
    def prepare_models(cls): pass
"""
WORKER = (
    QUEUE
    + """
class Worker(Queued):
    async def get_processed_video_frame(self):
        output = await self.queue.get()
        await asyncio.sleep(0.02)
        return output

class LookingAhead(Queued):
    needed = 8

    async def get_processed_video_frame(self):
        while self.queue.qsize() < self.needed:
            await asyncio.sleep(0.001)
        return self.queue.get_nowait()

    async def flush(self):
        self.needed = 1

class UntilFlush(Queued):
    def __init__(self):
        super().__init__()
        self.kept = []

    async def put_video_frame(self, frame, request_id):
        self.kept.append(VideoOutput(frame, request_id))

    async def flush(self):
        for output in self.kept:
            self.queue.put_nowait(output)

class EverySecond(Queued):
    number = 0

    async def put_video_frame(self, frame, request_id):
        self.number += 1
        if self.number % 2:
            self.queue.put_nowait(VideoOutput(frame, request_id))

class Failing(Queued):
    async def put_video_frame(self, frame, request_id):
        raise ValueError("no")

class OwnClock(Queued):
    number = -1

    async def get_processed_video_frame(self):
        output = await self.queue.get()
        self.number += 1
        output.frame.timestamp = self.number
        return output
"""
)


class Sink:
    """Takes the outputs of a process one after the other, as slowly as it is told.

    Attributes:
        taken: numbers of the outputs that it is done with. most_inside, most_held: at any time.
    """

    def __init__(self, path: str, pace: Callable[[], Awaitable[object]]) -> None:
        self.taken: list[int] = []
        self.warnings: list[str] = []
        self.most_inside = self.most_held = 0
        self._pace = pace
        self._outputs: asyncio.Queue[RawFrame] = asyncio.Queue()
        spec = PipelineSpec(pipeline_cls=path)
        self.process = PipelineProcess(spec, on_frame=self._arrived, on_message=self._told)
        self._task = asyncio.create_task(self._take())

    def _arrived(self, frame: RawFrame, _request_id: str) -> None:
        self._outputs.put_nowait(frame)
        self.look()

    def _told(self, message: Message) -> None:
        if isinstance(message, OutputWarned) and "keeps" in message.message:
            self.warnings.append(message.message)

    def look(self) -> None:
        self.most_inside = max(self.most_inside, self.process.inside)
        self.most_held = max(self.most_held, self.process._flow.outputs_held)

    async def _take(self) -> None:
        while True:
            frame = await self._outputs.get()
            await self._pace()
            self.taken.append(frame.pts)
            frame.release()

    async def send(self, count: int, step: int = 1) -> None:
        for seq in range(count):
            await self.process.send(raw_frame(seq * step, *SIZE), "r1")
            self.look()

    async def offer(self, count: int, interval_s: float) -> None:
        for seq in range(count):
            self.process.offer(raw_frame(seq, *SIZE), "r1")
            self.look()
            await asyncio.sleep(interval_s)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        while not self._outputs.empty():
            self._outputs.get_nowait().release()
        await self.process.stop()


async def at_once() -> None:
    pass


async def slowly() -> None:
    await asyncio.sleep(0.03)


@asynccontextmanager
async def running(path: str, pace: Callable[[], Awaitable[object]] = at_once) -> AsyncIterator[Sink]:
    sink = Sink(path, pace)
    await sink.process.start({})
    try:
        await sink.process.ready(60.0)
        sink.process.open_stream("r1")
        yield sink
    finally:
        await sink.close()


class TestSlowSink:
    async def test_lossless_waits(self, write: WriteModule) -> None:
        write("queue_a", QUEUE)
        async with running("queue_a:Queued", slowly) as sink:
            await sink.send(40)
            await sink.process.drain(1.0)
            assert sink.taken == list(range(40))
            assert sink.most_inside <= WINDOW + MORE
            assert sink.most_inside + sink.most_held <= WINDOW + MORE + OUTPUTS_HELD

    async def test_newest_drops_before_inference_and_counts(self, write: WriteModule) -> None:
        write("queue_a", QUEUE)
        async with running("queue_a:Queued", slowly) as sink:
            await sink.offer(120, 0.005)
            await sink.process.drain(1.0)
            assert sink.most_inside <= WINDOW + MORE
            assert sink.taken[-1] == 119
            assert len(sink.taken) == sink.process.frames_sent
            assert len(sink.taken) + sink.process.dropped["superseded"] == 120
            assert sink.process.dropped["superseded"] > 0

    async def test_several_outputs_per_input(self, write: WriteModule) -> None:
        write("three_a", "def three(frame):\n    return frame.repeat(3, 1, 1, 1)\n")
        async with running("three_a:three", slowly) as sink:
            await sink.send(20, step=3)
            await sink.process.drain(1.0)
            assert len(sink.taken) == 60
            assert sink.most_inside <= WINDOW + MORE

    async def test_a_sink_that_stands_still_gets_no_more_than_it_holds(self, write: WriteModule) -> None:
        write("queue_a", QUEUE)
        resumed = asyncio.Event()
        async with running("queue_a:Queued", resumed.wait) as sink:
            sending = asyncio.create_task(sink.send(60))
            while sink.process._flow.outputs_held < OUTPUTS_HELD:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.5)  # for more than is due to come through
            assert sink.process.frames_sent <= WINDOW + OUTPUTS_HELD
            resumed.set()
            await sending
            await sink.process.drain(1.0)
            assert sink.taken == list(range(60))


class TestOwnDepth:
    async def test_frames_that_are_needed_before_the_first_output(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:LookingAhead") as sink:
            await sink.send(60)
            assert 8 <= sink.process.window <= 8 + MORE
            await sink.process.drain(1.0)
            assert sink.taken == list(range(60))
            assert sink.most_inside <= 8 + 2 * MORE

    async def test_live_a_pipeline_that_looks_ahead_gets_what_it_needs(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:LookingAhead") as sink:
            await sink.offer(150, 0.03)
            assert 8 <= sink.process.window <= 8 + MORE
            process = sink.process
            unanswered = process.inside + process.waiting
            assert len(sink.taken) + unanswered + process.dropped["superseded"] == 150
            assert sink.taken[-1] >= 100

    @pytest.mark.parametrize("size", [3, 12])
    async def test_batches(self, write: WriteModule, size: int) -> None:
        write(
            "batch_a", f"class f:\n    batch_size = {size}\n    def transform(self, frames):\n        return frames\n"
        )
        async with running("batch_a:f") as sink:
            await sink.send(5 * size + 1)
            assert max(WINDOW, size) <= sink.process.window <= size + WINDOW
            await sink.process.drain(1.0)
            assert sink.taken == list(range(5 * size + 1))

    async def test_a_queue_in_front_of_a_slow_worker_stays_short(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:Worker") as sink:
            await sink.offer(100, 0.005)
            await sink.process.drain(1.0)
            assert sink.process.window <= WINDOW + MORE
            assert sink.most_inside <= WINDOW + 2 * MORE
            assert len(sink.taken) + sink.process.dropped["superseded"] == 100


class TestFewerOutputs:
    async def test_every_second_input_is_skipped(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:EverySecond") as sink:
            await sink.send(40)
            await sink.process.drain(1.0)
            assert sink.taken == list(range(0, 40, 2))
            assert sink.process.window <= WINDOW + MORE
            assert sink.warnings == []

    @pytest.mark.parametrize("keeps", [False, True])
    async def test_no_output_for_a_long_time(self, write: WriteModule, *, keeps: bool) -> None:
        """Whether it compares each frame with the one before or not."""
        write(
            "still_a",
            f"""
            class Still:
                number = 0
                def transform(self, frame):
                    self.number += 1
                    self.previous = frame if {keeps} else None
                    return frame if self.number > 300 else None
            """,
        )
        async with running("still_a:Still") as sink:
            await sink.send(310)
            await sink.process.drain(1.0)
            assert sink.taken == list(range(300, 310))
            assert sink.process.window <= WINDOW + MORE
            assert sink.warnings == []

    async def test_every_frame_fails(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:Failing") as sink:
            await sink.send(100)
            await sink.process.drain(0.1)
            assert (sink.taken, sink.process.inside, sink.warnings) == ([], 0, [])

    async def test_until_the_flush_it_keeps_everything_and_a_warning_says_so(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        count = CEILING + 4
        async with running("worker_a:UntilFlush") as sink:
            await sink.send(count)
            assert sink.most_inside == CEILING
            assert len(sink.warnings) == 1
            await sink.process.drain(1.0)
            assert sink.taken == list(range(count))


class TestStreams:
    async def test_frames_of_the_stream_before_do_not_count(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:UntilFlush") as sink:
            await sink.send(WINDOW)
            assert sink.process.inside == WINDOW
            sink.process.open_stream("r2")
            assert sink.process.inside == 0

    async def test_a_pipeline_with_a_clock_of_its_own(self, write: WriteModule) -> None:
        write("worker_a", WORKER)
        async with running("worker_a:OwnClock") as sink:
            for seq in range(40):
                await sink.process.send(replace(raw_frame(seq, *SIZE), pts=1000 + seq), "r1")
                sink.look()
            await sink.process.drain(1.0)
            assert sink.taken == list(range(40))
            assert sink.process.window <= WINDOW + MORE

"""Outputs: passed on in order, none twice; each one that is dropped is counted, and its memory released once."""

from __future__ import annotations

import pytest

from runner.live.process.outputs import Outputs
from runner.live.trickle import RawFrame

from ..conftest import raw_frame


class Frames:
    """Makes numbered frames, and remembers which were released."""

    def __init__(self) -> None:
        self.released: list[int] = []

    def __call__(self, seq: int) -> RawFrame:
        frame = raw_frame(seq, 4, 4)
        frame.release = lambda: self.released.append(seq)
        return frame


@pytest.fixture
def frames() -> Frames:
    return Frames()


@pytest.fixture
def outputs() -> Outputs:
    outputs = Outputs()
    outputs.begin()
    return outputs


async def take_all(outputs: Outputs) -> list[int]:
    return [(await outputs.next()).seq for _ in range(outputs.waiting)]


class TestSlowSink:
    async def test_finished_frames_wait_for_it(self, outputs: Outputs, frames: Frames) -> None:
        for seq in range(20):
            outputs.put(frames(seq))
        assert (outputs.dropped, frames.released) == ({}, [])
        assert await take_all(outputs) == list(range(20))


class TestOrder:
    async def test_late_and_repeated_outputs_are_dropped_and_counted(self, outputs: Outputs, frames: Frames) -> None:
        for seq in (0, 2, 1, 2, 3):
            outputs.put(frames(seq))
        assert outputs.dropped == {"out of order": 2}
        assert frames.released == [1, 2]
        assert await take_all(outputs) == [0, 2, 3]
        assert outputs.rate.count == 3

    async def test_after_a_rewind_earlier_frames_are_passed_on_again(self, outputs: Outputs, frames: Frames) -> None:
        outputs.put(frames(5))
        outputs.rewind()
        outputs.put(frames(5))
        assert (outputs.dropped, await take_all(outputs)) == ({}, [5, 5])


class TestStreams:
    async def test_a_new_stream_releases_the_rest_of_the_previous_one_and_counts_from_zero(
        self, outputs: Outputs, frames: Frames
    ) -> None:
        for seq in (3, 2, 4):
            outputs.put(frames(seq))
        outputs.begin()
        assert sorted(frames.released) == [2, 3, 4]
        assert (outputs.dropped, outputs.rate.count, outputs.waiting) == ({}, 0, 0)
        outputs.put(frames(0))
        assert await take_all(outputs) == [0]

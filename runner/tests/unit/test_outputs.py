"""Outputs: passed on in order, none twice; each one that is dropped is counted, and its memory released once."""

from __future__ import annotations

import pytest

from runner.live.process.outputs import OUTPUTS_WAITING, Outputs
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
    outputs.begin(lossless=False)
    return outputs


async def take_all(outputs: Outputs) -> list[int]:
    return [(await outputs.next()).seq for _ in range(outputs.waiting)]


class TestSlowSink:
    async def test_the_oldest_are_dropped_and_counted(self, outputs: Outputs, frames: Frames) -> None:
        for seq in range(OUTPUTS_WAITING + 2):
            outputs.put(frames(seq))
        assert outputs.dropped == {"sink": 2}
        assert frames.released == [0, 1]
        assert await take_all(outputs) == [2, 3, 4]
        assert frames.released == [0, 1]  # the others are the sink's to release
        assert outputs.rate.count == 5

    async def test_none_is_dropped_while_there_is_room(self, outputs: Outputs, frames: Frames) -> None:
        for seq in range(OUTPUTS_WAITING):
            outputs.put(frames(seq))
        assert (outputs.dropped, frames.released) == ({}, [])
        assert await take_all(outputs) == [0, 1, 2]

    async def test_none_is_dropped_in_a_lossless_stream(self, outputs: Outputs, frames: Frames) -> None:
        outputs.begin(lossless=True)
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
        outputs.begin(lossless=False)
        assert sorted(frames.released) == [2, 3, 4]
        assert (outputs.dropped, outputs.rate.count, outputs.waiting) == ({}, 0, 0)
        outputs.put(frames(0))
        assert await take_all(outputs) == [0]

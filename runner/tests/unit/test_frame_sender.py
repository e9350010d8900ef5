"""Frames that wait for a pipeline: one, and a few while new code goes in."""

from __future__ import annotations

from typing import Any

import pytest

from runner.live.process.frame_sender import CATCH_UP_FRAMES, FrameSender
from runner.live.process.input_ring import WAITING_AT_EXCHANGE
from runner.live.process.messages import FrameSent, FrameTaken

from ..conftest import raw_frame


class Sender:
    """A frame sender whose pipeline takes a frame when it is told to."""

    def __init__(self) -> None:
        self.sent: list[FrameSent] = []
        self.frames = FrameSender(self._send, lambda: None)
        self.frames.flow.busy = False
        self.frames.advance()
        self.seq = 0

    def _send(self, message: Any) -> None:
        if isinstance(message, FrameSent):
            self.sent.append(message)

    def offer(self, count: int = 1) -> int:
        """Offer the next frames; how many were dropped."""
        dropped = 0
        for _ in range(count):
            dropped += self.frames.offer(raw_frame(self.seq, 4, 4), "s1")
            self.seq += 1
        return dropped

    def take(self) -> None:
        """The pipeline takes the frame that it was sent, and answers all."""
        message = self.sent[-1]
        self.frames.flow.answered(float("inf"), 0.0)
        self.frames.take_back(FrameTaken(message.ring, message.slot, 0))


@pytest.fixture
async def sender() -> Any:
    made = Sender()
    yield made
    made.frames.close()


async def test_a_newer_frame_replaces_the_one_that_waits(sender: Sender) -> None:
    assert (sender.offer(3), sender.frames.waiting, len(sender.sent)) == (1, 1, 1)


async def test_a_few_wait_while_new_code_goes_in_and_then_the_oldest_is_dropped(sender: Sender) -> None:
    sender.frames.hold()
    assert (sender.offer(1 + WAITING_AT_EXCHANGE), sender.frames.waiting) == (0, WAITING_AT_EXCHANGE)
    assert (sender.offer(2), sender.frames.waiting) == (2, WAITING_AT_EXCHANGE)


async def test_those_that_wait_come_in_order_and_then_one_waits_again(sender: Sender) -> None:
    sender.frames.hold()
    sender.offer(4)
    sender.frames.let_go()
    for left in (2, 1, 0):
        sender.take()
        assert sender.frames.waiting == left
    assert len(sender.sent) == 4
    assert (sender.offer(3), sender.frames.waiting) == (2, 1)  # caught up, so that only one waits


async def test_a_pipeline_that_does_not_catch_up_drops_again_after_a_while(sender: Sender) -> None:
    sender.frames.hold()
    sender.offer(1 + WAITING_AT_EXCHANGE)
    sender.frames.let_go()
    for _ in range(CATCH_UP_FRAMES - 1):
        sender.take()
        assert sender.offer() == 0
    assert sender.offer(2) == WAITING_AT_EXCHANGE + 1
    assert sender.frames.waiting == 1


async def test_memory_of_slots_that_are_not_needed_is_not_touched(sender: Sender) -> None:
    for _ in range(20):
        sender.offer(2)
        sender.take()
    assert len({message.slot for message in sender.sent}) <= 3

"""FlowControl: which frames may enter, and how many a pipeline turns out to need, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runner.live.process.flow_control import CEILING, WINDOW, FlowControl

SECOND = 1000  # in steps


class Driven:
    """A pipeline with an endless supply of frames.

    Attributes:
        most: frames that were inside at any time.
        warned: how often the ceiling was reached for the first time.
        outputs: how many there were.
    """

    def __init__(self, turn: Callable[[Driven], None], *, references: bool = True) -> None:
        self.flow = FlowControl()
        self.flow.busy = False
        self.step = self.sent = self.outputs = self.most = self.warned = self.taken_at = 0
        self.unanswered: list[int] = []
        self._turn = turn
        self._references = references

    @property
    def now(self) -> float:
        return self.step / SECOND

    def answer(self, number: int) -> None:
        """Return the output of that frame, which the sink takes at once."""
        self.outputs += 1
        self.unanswered = [other for other in self.unanswered if other > number]
        self.flow.outputs_held += 1
        self.flow.answered(number, self.now)
        self.flow.released(self.now)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * SECOND)):
            self.step += 1
            if self.flow.has_room:
                self._send()
            elif self.flow.is_starved and not self.flow.wait_s(self.now):
                self.warned += self.flow.grant()
            self._turn(self)

    def _send(self) -> None:
        self.sent += 1
        self.unanswered.append(self.sent)
        self.flow.sent(self.sent)
        self.most = max(self.most, len(self.unanswered))
        self.taken_at = self.step
        self.flow.taken(len(self.unanswered) if self._references else 0, self.now)


def looking_ahead(depth: int) -> Callable[[Driven], None]:
    def turn(driven: Driven) -> None:
        while len(driven.unanswered) >= depth:
            driven.answer(driven.unanswered[0])

    return turn


def in_batches(size: int) -> Callable[[Driven], None]:
    def turn(driven: Driven) -> None:
        while len(driven.unanswered) >= size:
            for number in driven.unanswered[:size]:
                driven.answer(number)

    return turn


def working_for(first_ms: int, others_ms: int) -> Callable[[Driven], None]:
    """A worker with a queue in front of it."""
    ready_at = first_ms

    def turn(driven: Driven) -> None:
        nonlocal ready_at
        if driven.unanswered and driven.step >= ready_at:
            driven.answer(driven.unanswered[0])
            ready_at = driven.step + others_ms

    return turn


class TestRoom:
    def test_none_while_a_frame_is_in_the_pipeline(self) -> None:
        flow = FlowControl()
        flow.busy = False
        assert flow.has_room
        flow.sent(0.0)
        assert not flow.has_room
        flow.taken(1, 0.0)
        assert flow.has_room

    def test_none_while_the_sink_is_behind(self) -> None:
        flow = FlowControl()
        flow.busy = False
        flow.outputs_held = 2
        assert (flow.has_room, flow.is_starved) == (False, False)
        flow.released(0.0)
        assert flow.has_room

    def test_one_frame_at_a_time_while_the_sink_is_busy(self) -> None:
        flow = FlowControl()
        flow.busy = False
        flow.outputs_held = 1
        assert flow.has_room
        flow.sent(0.0)
        flow.taken(1, 0.0)
        assert not flow.has_room
        flow.released(0.0)
        assert flow.has_room

    def test_a_pipeline_that_waits_for_the_sink_is_not_starved(self) -> None:
        flow = FlowControl()
        for number in range(WINDOW):
            flow.sent(number)
            flow.taken(number + 1, 0.0)
        assert flow.is_starved
        flow.outputs_held = 1
        assert not flow.is_starved

    def test_an_output_answers_its_input_and_those_before_it(self) -> None:
        flow = FlowControl()
        for number in range(4):
            flow.sent(number)
        flow.answered(2, 0.0)
        assert flow.inside == 1
        flow.answered(2.5, 0.0)
        assert flow.inside == 1

    def test_a_clock_that_starts_earlier_answers_one_by_one(self) -> None:
        flow = FlowControl()
        for number in range(4):
            flow.sent(number)
        flow.answered(None, 0.0)
        assert flow.inside == 3

    def test_a_frame_that_failed_is_not_inside(self) -> None:
        flow = FlowControl()
        flow.sent(0)
        flow.failed()
        flow.failed()
        assert flow.inside == 0


class TestLearning:
    @pytest.mark.parametrize("depth", [1, WINDOW])
    def test_a_shallow_pipeline_is_not_given_more(self, depth: int) -> None:
        driven = Driven(looking_ahead(depth))
        driven.run(10)
        assert (driven.flow.window, driven.most) == (WINDOW, depth)

    @pytest.mark.parametrize("pipeline", [looking_ahead, in_batches])
    @pytest.mark.parametrize("depth", [5, 8, 33, CEILING])
    def test_what_a_pipeline_needs_is_learned_once_and_exactly(
        self, pipeline: Callable[[int], Callable[[Driven], None]], depth: int
    ) -> None:
        driven = Driven(pipeline(depth))
        driven.run(20)
        assert (driven.flow.window, driven.most, driven.warned) == (depth, depth, 0)
        before = driven.outputs
        driven.run(1)
        assert driven.outputs - before > 0.8 * SECOND  # a frame each step, but for a look whether fewer would do

    @pytest.mark.parametrize(("first_ms", "others_ms"), [(0, 20), (0, 200), (2000, 200), (3000, 1000), (500, 2)])
    def test_a_slow_worker_with_a_queue_keeps_the_smallest_window(self, first_ms: int, others_ms: int) -> None:
        driven = Driven(working_for(first_ms, others_ms))
        driven.run(first_ms / 1000 + 40 * others_ms / 1000)
        assert driven.flow.window == WINDOW
        driven.most = 0
        driven.run(20 * others_ms / 1000 + 1)
        assert driven.most <= WINDOW + 1

    def test_a_single_stall_changes_nothing(self) -> None:
        driven = Driven(working_for(0, 20))
        driven.run(5)
        driven._turn = working_for(driven.step + 1000, 20)
        driven.run(10)
        assert driven.flow.window == WINDOW

    def test_a_window_that_is_too_large_shrinks(self) -> None:
        driven = Driven(looking_ahead(WINDOW + 3))
        driven.run(5)
        assert driven.flow.window == WINDOW + 3
        driven._turn = looking_ahead(1)
        driven.run(20)
        assert driven.flow.window == WINDOW

    def test_skipped_frames_are_not_inside(self) -> None:
        driven = Driven(lambda _: None, references=False)
        driven.run(10)
        assert driven.sent > 10 * 60
        assert (driven.flow.window, driven.warned) == (WINDOW, 0)

    def test_a_pipeline_without_outputs_still_gets_frames_and_is_warned_of_once(self) -> None:
        driven = Driven(lambda _: None)
        driven.run(20)
        assert driven.warned == 1
        assert driven.flow.inside == CEILING
        before = driven.sent
        driven.run(20)
        assert 10 < driven.sent - before <= 40

"""LossCounter: which inputs of a reload's window have no output, against what is normal for the pipeline."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from runner.live.process.loss_counter import INPUTS_KEPT, LossCounter, LossWindow, ReloadLoss
from runner.live.trickle import RawFrame

FPS = 10
PIXELS = np.zeros((1, 1, 3), np.uint8)


def frame(number: float) -> RawFrame:
    """Frame `number` of a stream; half numbers are between two inputs."""
    return RawFrame(PIXELS, round(number * 100), Fraction(1, FPS * 100), int(number))


class Stream:
    """A stream in steps of a tenth of a second, one input in each."""

    def __init__(self) -> None:
        self.now = 100.0
        self.number = 0
        self.counter = LossCounter(lambda: self.now)

    def run(self, count: int, answered_every: int = 1) -> None:
        """So many inputs; each first one of `answered_every` has its output at once."""
        for index in range(count):
            self.input()
            if index % answered_every == 0:
                self.output(self.number - 1)

    def input(self) -> None:
        self.now += 1 / FPS
        self.counter.add_input(frame(self.number))
        self.number += 1

    def output(self, number: float) -> None:
        self.counter.add_output(frame(number))

    def save(self, ago_s: float = 0.0) -> LossWindow:
        return self.counter.start(self.now + 0.5 / FPS - ago_s)  # between two inputs


@pytest.fixture
def stream() -> Stream:
    return Stream()


class TestWindow:
    def test_all_answered_is_nothing_lost(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.run(5)
        stream.counter.switch(window)
        stream.run(1)
        assert not window.done.is_set()
        stream.run(1)
        assert window.done.is_set()
        assert window.result() == ReloadLoss(0, pytest.approx(1 / FPS))

    def test_inputs_without_an_output_are_lost_whatever_became_of_them(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.run(3, answered_every=3)
        stream.counter.switch(window)
        stream.run(1)
        stream.input()
        stream.run(1)
        assert window.result().frames == 3
        assert window.result().gap_s == pytest.approx(3 / FPS)

    def test_starts_at_the_save_not_at_its_load(self, stream: Stream) -> None:
        stream.run(20)
        for _ in range(4):
            stream.input()
        window = stream.save(ago_s=0.2)  # two of the four came since
        stream.counter.switch(window)
        stream.run(2)
        assert window.result() == ReloadLoss(2, pytest.approx(5 / FPS))

    def test_gaps_before_the_save_do_not_count_and_one_that_spans_it_does(self, stream: Stream) -> None:
        stream.run(5)
        for _ in range(9):
            stream.input()
        stream.run(2)
        stream.input()
        stream.run(2)
        window = stream.save(ago_s=0.2)
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().gap_s == pytest.approx(2 / FPS)

    def test_ends_with_the_second_output_of_the_new_code(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.counter.switch(window)
        stream.run(2)
        for _ in range(5):
            stream.input()  # lost, but no longer to this reload
        stream.run(3)
        assert window.result() == ReloadLoss(0, pytest.approx(1 / FPS))

    def test_ends_where_the_process_has_proven_the_new_code(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        for _ in range(3):
            stream.input()
        stream.counter.end(window, frame(22).time_s)
        assert not window.done.is_set()  # received, not passed on yet
        stream.output(22)
        assert window.done.is_set()
        stream.run(5, answered_every=5)
        assert window.result().frames == 2

    def test_outputs_passed_on_before_the_proof_arrived_count(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.run(4)
        stream.counter.end(window, frame(23).time_s)
        assert window.done.is_set()
        assert window.result().frames == 0

    def test_what_is_known_so_far_is_up_to_the_newest_output(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.run(3, answered_every=2)
        for _ in range(10):
            stream.input()
        stream.counter.close(window)
        assert window.done.is_set()
        assert window.result().frames == 1


class TestRatio:
    @pytest.mark.parametrize("every", [2, 3, 4])
    def test_a_pipeline_that_misses_some_is_compared_with_itself(self, stream: Stream, every: int) -> None:
        stream.run(60, answered_every=every)
        window = stream.save()
        stream.counter.switch(window)
        stream.run(2 * every, answered_every=every)
        assert window.result().frames == 0

    def test_what_it_misses_beyond_that_is_lost(self, stream: Stream) -> None:
        stream.run(60, answered_every=2)
        window = stream.save()
        for _ in range(20):
            stream.input()
        stream.counter.switch(window)
        stream.run(4, answered_every=2)
        assert window.result().frames == 10

    def test_more_outputs_than_normal_make_up_for_nothing(self, stream: Stream) -> None:
        stream.run(60, answered_every=2)
        window = stream.save()
        stream.run(20)
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 0

    def test_is_that_of_the_latest_inputs(self, stream: Stream) -> None:
        stream.run(60, answered_every=4)
        stream.run(60)
        window = stream.save()
        stream.input()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 1

    def test_leaves_out_earlier_reloads(self, stream: Stream) -> None:
        stream.run(60)
        for _ in range(3):
            window = stream.save()
            for _ in range(30):
                stream.input()
            stream.counter.switch(window)
            stream.run(2)
            assert window.result().frames == 30
            stream.run(1)

    def test_leaves_out_inputs_before_the_first_output(self, stream: Stream) -> None:
        for _ in range(30):
            stream.input()
        stream.run(5)
        window = stream.save()
        stream.input()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 1

    def test_without_any_output_before_the_save_nothing_counts(self, stream: Stream) -> None:
        for _ in range(30):
            stream.input()
        window = stream.save()
        assert not window.counts
        stream.counter.switch(window)
        stream.run(5)
        assert window.result() == ReloadLoss()


class TestMapping:
    def test_several_outputs_of_an_input_answer_it_once(self, stream: Stream) -> None:
        for number in range(20):
            stream.input()
            stream.output(number)
            stream.output(number + 0.5)
        window = stream.save()
        stream.input()
        stream.counter.switch(window)
        stream.input()
        stream.output(21)
        stream.output(21.5)
        assert window.done.is_set()
        assert window.result().frames == 1

    def test_a_batch_answers_all_of_its_inputs(self, stream: Stream) -> None:
        def batch() -> None:
            for _ in range(4):
                stream.input()
            for number in range(stream.number - 4, stream.number):
                stream.output(number)

        for _ in range(5):
            batch()
        stream.input()
        window = stream.save()
        for _ in range(3):
            stream.input()
        for number in range(20, 24):
            stream.output(number)
        stream.counter.switch(window)
        batch()
        assert window.result().frames == 0

    def test_the_same_frame_again_is_one_input(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.input()
        for _ in range(3):
            stream.counter.add_input(frame(20))
            stream.output(20)
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 0

    def test_frames_of_another_time_base_are_the_same(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.counter.switch(window)
        for _ in range(2):
            stream.input()
            stream.counter.add_output(RawFrame(PIXELS, (stream.number - 1) * 9000, Fraction(1, 90000)))
        assert window.result().frames == 0

    def test_an_output_older_than_all_that_is_kept_answers_nothing(self, stream: Stream) -> None:
        stream.run(2)
        for _ in range(INPUTS_KEPT):
            stream.input()
        window = stream.save()
        stream.output(0)
        stream.counter.end(window, frame(0).time_s)
        assert window.result().frames == 0


class TestSource:
    def test_inputs_that_it_dropped_are_lost_too(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.number += 3
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 3

    def test_one_that_normally_drops_some_is_compared_with_itself(self, stream: Stream) -> None:
        def half(count: int) -> None:
            for _ in range(count):
                stream.number += 1
                stream.run(1)

        half(40)
        window = stream.save()
        half(4)
        stream.counter.switch(window)
        half(2)
        assert window.result().frames == 0

    def test_what_it_dropped_while_it_was_held_is_not_lost(self, stream: Stream) -> None:
        stream.run(20)
        stream.counter.interrupt()
        stream.counter.interrupt()
        stream.run(1)
        stream.number += 300
        stream.run(20)
        window = stream.save()
        stream.counter.switch(window)
        stream.run(2)
        assert (window._ratio, window.result().frames) == (1.0, 0)

    def test_frames_without_numbers_of_their_own_are_all_there_are(self) -> None:
        counter = LossCounter()
        for number in range(20):
            counter.add_input(RawFrame(PIXELS, number, Fraction(1, FPS)))
            counter.add_output(RawFrame(PIXELS, number, Fraction(1, FPS)))
        window = counter.start(0.0)
        assert counter.start(0.0) is window
        assert counter._count == 20


class TestSuperseded:
    def test_before_it_served_its_count_goes_on(self, stream: Stream) -> None:
        stream.run(20)
        stream.save()
        for _ in range(5):
            stream.input()
        window = stream.save()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result() == ReloadLoss(5, pytest.approx(6 / FPS))

    def test_after_its_proof_but_before_it_served_its_count_goes_on(self, stream: Stream) -> None:
        stream.run(20)
        first = stream.save()
        stream.input()
        stream.counter.end(first, frame(20).time_s)
        window = stream.save()
        stream.run(2)
        assert not window.done.is_set()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 1

    def test_while_its_outputs_are_waited_for_the_two_divide_the_inputs(self, stream: Stream) -> None:
        stream.run(20)
        first = stream.save()
        stream.input()
        stream.counter.switch(first)
        stream.run(1)
        stream.input()
        stream.input()
        second = stream.save()
        assert first.done.is_set()
        assert first.result().frames == 1
        stream.counter.switch(second)
        stream.run(2)
        assert (first.result().frames, second.result().frames) == (1, 2)

    def test_a_load_that_failed_leaves_nothing_to_the_next(self, stream: Stream) -> None:
        stream.run(20)
        stream.counter.close(stream.save())
        stream.run(3, answered_every=3)
        window = stream.save()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 0


class TestStreams:
    def test_the_end_of_one_ends_the_count(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.run(3, answered_every=2)
        stream.counter.reset()
        assert window.done.is_set()
        assert window.result().frames == 1

    def test_a_new_one_starts_from_nothing(self, stream: Stream) -> None:
        stream.run(20, answered_every=4)
        stream.counter.reset()
        stream.number = 0
        stream.run(20)
        window = stream.save()
        stream.input()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result() == ReloadLoss(1, pytest.approx(2 / FPS))

    def test_a_pause_is_no_gap(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.counter.interrupt()
        stream.now += 60
        stream.counter.interrupt()
        assert not window.done.is_set()  # the load goes on
        stream.counter.switch(window)
        stream.run(2)
        assert window.result() == ReloadLoss(0, pytest.approx(1 / FPS))

    def test_a_pause_ends_the_wait_for_outputs(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        stream.counter.switch(window)
        stream.counter.interrupt()
        assert window.done.is_set()


class TestMemory:
    def test_is_bounded_and_a_long_load_is_counted_in_full(self, stream: Stream) -> None:
        stream.run(20)
        window = stream.save()
        for _ in range(3 * INPUTS_KEPT):
            stream.input()
        stream.counter.switch(window)
        stream.run(2)
        assert window.result().frames == 3 * INPUTS_KEPT
        assert len(stream.counter._inputs) == INPUTS_KEPT

"""Switchboard: who gets the inputs, whose outputs count, and that every frame that is dropped is counted once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runner.live.process.exit import ProcessExit
from runner.live.process.messages import FrameFailed, Loaded
from runner.live.process.revision import Revision
from runner.live.report import ErrorReport

from ..conftest import raw_frame
from .guardian_run import GuardianRun


@pytest.fixture
async def run(nothing_left: None) -> AsyncIterator[GuardianRun]:  # noqa: ARG001 - checks after the run is closed
    run = GuardianRun()
    yield run
    run.close()


@pytest.fixture
async def serving(run: GuardianRun) -> Revision:
    """The first revision; it serves, and stream `s1` is open."""
    revision = run.revision(1)
    run.board.switch(revision)
    run.board.open_stream("s1", lossless=False)
    return revision


class TestStreams:
    async def test_outputs_of_another_stream_are_dropped_and_counted(self, run: GuardianRun, serving: Revision) -> None:
        run.output(serving, 7, "s0")
        run.output(serving, 0, "s1")
        assert run.board.drops() == {"other stream": 1}
        assert await run.passed_on() == [0]
        assert run.released == [7]

    async def test_outputs_of_a_closed_stream_are_dropped(self, run: GuardianRun, serving: Revision) -> None:
        run.board.close_stream()
        run.output(serving, 3, "s1")
        assert run.released == [3]
        assert run.board.outputs.waiting == 0

    async def test_only_the_serving_revision_counts(self, run: GuardianRun, serving: Revision) -> None:
        """The replacement answers frames that the serving revision answers too."""
        assert run.board.serving is serving
        run.output(run.revision(2), 7, "s0")
        run.output(run.revision(2), 8, "s1")
        assert run.board.drops() == {}
        assert run.released == [7, 8]

    async def test_counts_start_with_the_stream(self, run: GuardianRun, serving: Revision) -> None:
        run.output(serving, 0, "s0")
        run.board.offer(raw_frame(0, 4, 4))
        run.board.close_stream()
        run.board.open_stream("s2", lossless=False)
        assert (run.board.drops(), run.board.inputs.count, run.board.outputs.rate.count) == ({}, 0, 0)


class TestInputs:
    async def test_newer_frames_supersede_the_one_that_waits(self, run: GuardianRun, serving: Revision) -> None:
        for seq in range(4):
            assert run.board.offer(raw_frame(seq, 4, 4))
        assert run.board.drops() == {"superseded": 3}
        assert serving.process.waiting == 1
        assert run.board.inputs.count == 4

    async def test_while_nothing_serves_inputs_are_counted_as_loading(self, run: GuardianRun) -> None:
        run.board.open_stream("s1", lossless=False)
        assert not run.board.offer(raw_frame(0, 4, 4))
        assert run.board.drops() == {"loading": 1}

    async def test_inputs_between_two_processes_are_counted_as_loading(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        assert run.board.vacate() is serving
        for seq in range(3):
            assert not run.board.offer(raw_frame(seq, 4, 4))
        run.board.switch(run.revision(2))
        assert run.board.drops() == {"loading": 3}

    async def test_a_pipeline_that_reloads_itself_takes_none(self, run: GuardianRun, serving: Revision) -> None:
        run.board.reloading = True
        assert not run.board.offer(raw_frame(0, 4, 4))
        assert (run.board.drops(), serving.process.waiting) == ({"loading": 1}, 0)

    async def test_a_process_that_exited_takes_none(self, run: GuardianRun, serving: Revision) -> None:
        serving.process._input.close()
        serving.process.exit = ProcessExit(1, "exited with code 1")
        run.board.offer(raw_frame(0, 4, 4))
        assert run.board.drops() == {"no process": 1}
        assert serving.process.waiting == 0

    async def test_drops_of_a_process_stay_counted_once_it_is_replaced_or_lost(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        for board_change in (lambda: run.board.switch(run.revision(2)), run.board.lose):
            before = run.board.drops()["superseded"]
            for seq in range(3):
                run.board.offer(raw_frame(seq, 4, 4))
            board_change()
            assert run.board.drops() == {"superseded": before + 2}
        assert serving.process.dropped == {}


class TestSwitch:
    async def test_the_old_revision_answers_up_to_the_switch_and_the_new_one_after_it(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        for seq in range(3):
            run.board.offer(raw_frame(seq, 4, 4))
        run.output(serving, 0)
        new = run.revision(2)
        assert run.board.switch(new) is serving
        run.output(new, 2)  # was only shown that one
        run.output(new, 3)  # must not overtake what the old one still owes
        assert await run.passed_on() == [0]
        run.output(serving, 1)
        assert not serving.retired.is_set()
        run.output(serving, 2)
        assert serving.retired.is_set()
        run.output(serving, 3)
        assert await run.passed_on() == [1, 2]
        run.board.outputs.switched()
        run.output(new, 4)
        assert await run.passed_on() == [3, 4]
        assert run.released == [2, 3]
        assert run.board.drops() == {"superseded": 2}

    async def test_the_new_revision_starts_from_what_the_old_one_has_learned(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        serving.process._flow.window = 8
        new = run.revision(2)
        run.board.candidate = new
        new.process.loaded = Loaded({}, {}, {}, "cpu", show_reloading_frame=True, output_width=4, output_height=4)
        run.board.offer(raw_frame(0, 4, 4))
        assert new.process.window == 8

    async def test_frames_that_it_was_only_shown_are_no_drops_of_the_new_revision(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        new = run.revision(2)
        for seq in range(3):
            new.process.offer(raw_frame(seq, 4, 4), "s1")
        assert run.board.switch(new) is serving
        assert run.board.drops() == {}

    async def test_closing_the_stream_in_between_releases_what_is_held(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        run.board.offer(raw_frame(0, 4, 4))
        new = run.revision(2)
        run.board.switch(new)
        run.output(new, 1)
        run.board.close_stream()
        assert run.released == [1]
        assert serving.process.dropped == {}


class TestFailures:
    async def test_a_frame_that_fails_is_a_drop(self, run: GuardianRun, serving: Revision) -> None:
        report = ErrorReport("frame", "ValueError", "too bright")
        for _ in range(3):
            run.guardian.on_message(serving, FrameFailed(report))
        assert run.board.drops() == {"pipeline error": 3}
        assert run.guardian.status().inference_status.last_error == report.headline

    async def test_an_error_outside_of_a_frame_is_none(self, run: GuardianRun, serving: Revision) -> None:
        run.guardian.on_message(serving, FrameFailed(ErrorReport("update_params", "ValueError", "too bright")))
        assert run.board.drops() == {}

    async def test_a_replacement_that_fails_drops_nothing_of_the_stream(
        self, run: GuardianRun, serving: Revision
    ) -> None:
        assert run.board.serving is serving
        new = run.revision(2)
        run.guardian.on_message(new, FrameFailed(ErrorReport("frame", "ValueError", "too bright")))
        assert run.board.drops() == {}
        assert new.proof.exception() is not None

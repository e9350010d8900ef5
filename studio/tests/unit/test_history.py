"""How the host's events become what a snapshot shows of loads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ai_runner_studio.history import MENDED_AFTER_RESTART_S, MENDED_AFTER_S, REVISIONS_KEPT, History
from ai_runner_studio.snapshot import Load, Snapshot
from runner.live.events import (
    Event,
    InputDamaged,
    LoadFailed,
    LoadPlan,
    LoadPlanned,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    LoadSuperseded,
    MetricsTaken,
    ParamsChanged,
    PipelineFailed,
    ProcessExited,
    ReloadOptionsChanged,
    StandbyChanged,
)
from runner.live.input_damage import InputDamage
from runner.live.report import ErrorReport

IN_PLACE = LoadPlan(level="code", way="in place")
MISTAKE = ErrorReport("frame", "NameError", "name 'x' is not defined")


def told(*events: Event, history: History | None = None) -> Snapshot:
    history = history or History()
    for event in events:
        history.add(event)
    return history.snapshot(watching=0)


def good(revision: int, serving: int | None = None, **fields: Any) -> tuple[Event, Event]:
    """A load that comes up."""
    fields = {"reason": "saved", "sources": {"/p/a.py": f"digest {revision}"}, "pid": 100 + revision, **fields}
    begun = LoadStarted(
        revision=revision, reason=fields["reason"], serving=serving, restores=fields.get("restores"), at=revision
    )
    return begun, LoadSucceeded(revision=revision, **fields)


def failed(revision: int, serving: int | None, **fields: Any) -> LoadFailed:
    return LoadFailed(revision=revision, reason="saved", report=MISTAKE, serving=serving, **fields)


def outcomes(snapshot: Snapshot) -> list[str]:
    return [load.outcome for load in snapshot.loads]


def latest(snapshot: Snapshot) -> Load:
    assert snapshot.load is not None
    return snapshot.load


class TestCounts:
    def test_frames_lost_to_a_reload_are_kept(self) -> None:
        _, succeeded = good(2, frames_lost=4, output_gap_s=0.2)
        load = latest(told(*good(1), succeeded))
        assert (load.frames_lost, load.output_gap_s) == (4, 0.2)

    def test_an_error_of_the_frame_loop_is_cleared_once_frames_come_without_it(self) -> None:
        history = History()
        error = PipelineFailed(revision=1, report=MISTAKE, count=3, at=100.0)
        later = 100.0 + MENDED_AFTER_S
        for metrics, cleared in (
            (MetricsTaken(fps_out=30.0, at=later - 1), False),  # too soon
            (MetricsTaken(fps_out=0.0, at=later + 1), False),  # nothing comes out
            (MetricsTaken(fps_out=30.0, at=later + 1), True),
        ):
            now = told(*good(1), error, metrics, history=history)
            assert (now.error is None, now.error_count) == (cleared, 0 if cleared else 3)


class TestPlan:
    def test_it_is_shown_while_the_load_is_under_way_and_may_change(self) -> None:
        history = History()
        now = told(*good(1), LoadStarted(revision=2, reason="saved"), LoadPlanned(revision=2, plan=IN_PLACE),
                   history=history)  # fmt: skip
        assert (latest(now).plan, latest(now).outcome) == (IN_PLACE, "loading")
        refused = LoadPlan(level="process", way="overlap", why="initialize() has changed", standby="fork")
        now = told(LoadPlanned(revision=2, plan=refused), history=history)
        assert latest(now).plan == refused

    def test_its_end_has_the_last_word_with_memory_before_and_after(self) -> None:
        _, succeeded = good(
            2, plan=IN_PLACE, memory_before_bytes=5, memory_after_bytes=6, vram_before_bytes=None, vram_after_bytes=7
        )
        load = latest(told(*good(1), succeeded))
        assert load.plan == IN_PLACE
        assert (load.memory_before_bytes, load.memory_after_bytes) == (5, 6)
        assert (load.vram_before_bytes, load.vram_after_bytes) == (None, 7)

    def test_a_load_that_failed_keeps_its_plan(self) -> None:
        assert latest(told(*good(1), failed(2, serving=1, plan=IN_PLACE))).plan == IN_PLACE


class TestServing:
    def test_new_code_in_the_same_process_is_a_revision_like_any_other(self) -> None:
        now = told(*good(1, pid=7), *good(2, serving=1, pid=7, plan=IN_PLACE))
        assert (now.serving, now.pipeline_pid, outcomes(now)) == (2, 7, ["replaced", "serving"])

    def test_new_code_that_is_taken_back_has_failed_and_the_code_before_serves_again(self) -> None:
        now = told(*good(1, pid=7), *good(2, serving=1, pid=7, plan=IN_PLACE), failed(2, serving=1))
        assert (now.serving, now.pipeline_pid, outcomes(now)) == (1, 7, ["serving", "failed"])
        assert now.error == MISTAKE
        assert [load.can_return for load in now.loads] == [True, False]

    def test_a_load_that_failed_beside_the_serving_one_changes_nothing_about_that(self) -> None:
        now = told(*good(1), LoadStarted(revision=2, reason="saved", serving=1), failed(2, serving=1))
        assert (now.serving, outcomes(now)) == (1, ["serving", "failed"])

    def test_nothing_serves_between_the_processes_of_a_hand_over(self) -> None:
        history = History()
        plan = LoadPlan(level="process", way="hand-over", memory="GPU", needed_bytes=9, free_bytes=4)
        started = LoadStarted(revision=2, reason="saved", serving=1)
        now = told(*good(1), started, LoadPlanned(revision=2, plan=plan), history=history)
        assert now.serving == 1
        now = told(LoadStepped(revision=2, step="stop old"), history=history)
        assert (now.serving, outcomes(now)) == (None, ["replaced", "loading"])
        now = told(failed(2, serving=None), history=history)
        assert (now.serving, outcomes(now)) == (None, ["replaced", "failed"])
        now = told(*good(3, restores=1), history=history)
        assert (now.serving, outcomes(now), latest(now).restores) == (3, ["replaced", "failed", "serving"], 1)

    def test_the_old_process_goes_on_serving_until_it_is_stopped_where_both_overlap(self) -> None:
        now = told(
            *good(1),
            LoadStarted(revision=2, reason="saved", serving=1),
            LoadPlanned(revision=2, plan=LoadPlan(level="process", way="overlap")),
            LoadStepped(revision=2, step="stop old"),
        )
        assert now.serving == 1

    def test_a_process_that_ended_by_itself_serves_no_more(self) -> None:
        now = told(*good(1), ProcessExited(revision=1, pid=101, reason="was killed by SIGSEGV", restarting=True))
        assert (now.serving, now.pipeline_pid, outcomes(now)) == (None, 0, ["replaced"])

    def test_that_it_ended_is_told_also_once_it_serves_again(self) -> None:
        exited = ProcessExited(revision=1, pid=101, reason="was killed by SIGSEGV", restarting=True)
        now = told(*good(1), exited, *good(2))
        assert (now.serving, now.error) == (2, None)
        assert now.notices == ("the pipeline process was killed by SIGSEGV; it is started again",)

    def test_what_is_gone_back_to_is_known_from_the_start(self) -> None:
        now = told(*good(1), *good(2), LoadStarted(revision=3, reason="back", serving=2, restores=1))
        assert (latest(now).restores, latest(now).outcome) == (1, "loading")


class TestWhatMakesTheFrames:
    def test_it_is_the_serving_revision_and_what_is_on_disk(self) -> None:
        now = told(*good(1), *good(2, 1))
        assert (now.making, now.on_disk) == (2, True)

    def test_a_save_that_is_loaded_or_has_failed_is_on_disk_and_makes_none(self) -> None:
        history = History()
        now = told(*good(1), LoadStarted(revision=2, reason="saved", serving=1), history=history)
        assert (now.making, now.on_disk) == (1, False)
        now = told(failed(2, serving=1), history=history)
        assert (now.making, now.on_disk) == (1, False)
        now = told(LoadStarted(revision=3, reason="saved", serving=1), LoadSuperseded(revision=3), history=history)
        assert (now.making, now.on_disk) == (1, False)
        now = told(*good(4, 1), history=history)
        assert (now.making, now.on_disk) == (4, True)

    def test_new_code_that_is_tried_in_the_running_process_makes_them(self) -> None:
        history = History()
        begun = LoadStarted(revision=2, reason="saved", serving=1), LoadPlanned(revision=2, plan=IN_PLACE)
        assert told(*good(1), *begun, LoadStepped(revision=2, step="new code"), history=history).making == 1
        assert told(LoadStepped(revision=2, step="first frame"), history=history).making == 2
        exited = ProcessExited(revision=1, pid=101, reason="hung", restarting=True)
        assert told(exited, history=history).making is None

    def test_a_restart_has_the_code_on_disk_if_what_it_restores_had(self) -> None:
        history = History()
        assert told(*good(1), *good(2, restores=1), *good(3, restores=2), history=history).on_disk
        assert not told(*good(4, 3), *good(5, 4, restores=3), history=history).on_disk


class TestProcessesThatEnd:
    HUNG = ErrorReport("frame", "PipelineHung", "the new code returned no frame", file="/p/a.py", line=3)

    def test_the_error_stays_while_the_code_on_disk_is_the_one_that_hung(self) -> None:
        history = History()
        exited = ProcessExited(revision=1, pid=101, reason="hung in the code that was put into it", restarting=True)
        tried = LoadStarted(revision=2, reason="saved", serving=1)
        hung = LoadFailed(revision=2, reason="saved", report=self.HUNG)
        for events in ((exited, hung), (hung, exited)):
            now = told(*good(1), tried, *events, *good(3, restores=1), history=history)
            assert now.error is not None
            assert (now.error.kind, now.error.line, now.on_disk) == ("PipelineHung", 3, False)
        later = MetricsTaken(at=now.loads[-1].started_at + 1e10, fps_out=30.0)
        assert told(later, history=history).error is not None
        assert told(*good(4, 3), history=history).error is None

    def test_an_error_of_the_code_that_runs_again_stays_until_it_has_run_for_long(self) -> None:
        report = ErrorReport("process", "ProcessExited", "it crashed", file="/p/a.py", line=7)
        exited = ProcessExited(revision=1, pid=101, reason="was killed by SIGSEGV", restarting=True, report=report)
        history = History()
        now = told(*good(1), exited, *good(2, restores=1, at=100.0), history=history)
        assert now.error is not None
        assert (now.error.line, now.error.hint, now.on_disk) == (7, "It is being started again.", True)
        soon, later = (MetricsTaken(at=100.0 + MENDED_AFTER_RESTART_S + more, fps_out=30.0) for more in (-1, 1))
        assert told(soon, history=history).error is not None
        assert told(later, history=history).error is None


class TestReturning:
    def test_one_can_return_to_what_was_good(self) -> None:
        now = told(
            *good(1),
            *good(2),
            failed(3, serving=2),
            LoadStarted(revision=4, reason="saved"),
            LoadSuperseded(revision=4),
        )
        assert [load.can_return for load in now.loads] == [True, True, False, False]
        assert now.loads[0].sources == {"/p/a.py": "digest 1"}

    def test_not_to_more_than_the_host_keeps(self) -> None:
        now = told(*(event for number in range(REVISIONS_KEPT + 2) for event in good(number + 1)))
        assert [load.can_return for load in now.loads] == [False] * 2 + [True] * REVISIONS_KEPT

    def test_that_does_not_mend_what_is_wrong_with_the_code_on_disk_and_a_good_save_does(self) -> None:
        history = History()
        assert told(*good(1), failed(2, None), *good(3, None, restores=1), history=history).error is MISTAKE
        assert told(*good(4, 3), history=history).error is None

    def test_to_nothing_where_the_host_keeps_no_code(self) -> None:
        assert not latest(told(*good(1), history=History(code_kept=False))).can_return

    def test_to_nothing_of_a_host_that_has_died(self) -> None:
        history = History()
        told(*good(1), StandbyChanged(state="ready"), history=history)
        history.restarted()
        now = history.snapshot(watching=0)
        assert (now.loads, now.standby) == ((), None)


class TestStandby:
    def test_its_state_is_what_was_told_last(self) -> None:
        ready = StandbyChanged(state="ready", kind="fork", memory_bytes=5, modules=3)
        assert told(StandbyChanged(state="warming"), ready).standby == ready

    def test_one_that_is_dropped_is_told_with_its_reason(self) -> None:
        now = told(StandbyChanged(state="ready"), StandbyChanged(state="dropped", reason="200 MiB of RAM are free"))
        assert now.notices == ("the standby was dropped: 200 MiB of RAM are free",)

    def test_one_that_is_tried_and_dropped_again_is_told_once(self) -> None:
        dropped = [StandbyChanged(state="dropped", reason=f"{free} MiB of RAM are free") for free in (3, 2, 1)]
        warming = StandbyChanged(state="warming")
        now = told(dropped[0], warming, dropped[1])
        assert len(now.notices) == 1
        now = told(dropped[0], warming, StandbyChanged(state="ready"), dropped[2])
        assert [notice.split()[-6] for notice in now.notices] == ["3", "1"]


@pytest.mark.parametrize(("keep_weights", "standby"), [(True, False), (False, True)])
def test_options_are_those_that_the_host_has_taken(keep_weights: bool, standby: bool) -> None:
    now = told(ReloadOptionsChanged(keep_weights=keep_weights, standby=standby))
    assert (now.keep_weights, now.standby_on) == (keep_weights, standby)


def test_params_may_come_with_another_form_and_keep_the_one_before_without() -> None:
    first, second = {"title": "First"}, {"title": "Second"}
    history = History()
    assert told(*good(1, params_schema=first), history=history).params_schema == first
    assert told(ParamsChanged(params={"a": 1}), history=history).params_schema == first
    shown = told(ParamsChanged(params={"b": 2}, params_schema=second), history=history)
    assert (shown.params, shown.params_schema) == ({"b": 2}, second)


def test_the_log_has_each_failure_once() -> None:
    failed = LoadFailed(revision=2, reason="saved", report=replace(MISTAKE, traceback="Traceback\nNameError\n"), at=3.0)
    again = PipelineFailed(revision=1, report=MISTAKE, count=9)
    snapshot = told(
        PipelineFailed(revision=1, report=MISTAKE), again, failed, ProcessExited(revision=1, pid=7, reason="died")
    )
    assert [(line.level, line.message) for line in snapshot.logs] == [
        ("ERROR", "NameError: name 'x' is not defined"),
        ("ERROR", "Traceback\nNameError"),
        ("ERROR", "the pipeline process died"),
    ]


def test_damage_of_the_input_stays_in_the_log() -> None:
    damaged = InputDamaged(damage=InputDamage(missing=3, expected=9))
    snapshot = told(damaged)
    assert [(line.level, line.message) for line in snapshot.logs] == [("WARNING", damaged.message)]
    assert snapshot.notices[-1:] == (damaged.message,)

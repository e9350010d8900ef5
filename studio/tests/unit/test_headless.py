"""What a run's events add up to, and what its face says meanwhile; the run itself is in functional/test_run.py."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ai_runner_studio.errors import UsageError
from ai_runner_studio.headless import HeadlessRun, PartialOutput, expected_frames, progress_of
from ai_runner_studio.run_figures import RunFigures
from ai_runner_studio.run_load import RunLoad
from ai_runner_studio.run_report import ErrorKind, RunError, RunInput, RunReport
from ai_runner_studio.session import Load, Snapshot
from ai_runner_studio.settings import Settings
from runner.live.events import (
    InputDamaged,
    LoadFailed,
    LoadPlan,
    LoadPlanned,
    LoadStarted,
    LoadSucceeded,
    LoadSuperseded,
    MetricsTaken,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    Step,
    StreamEnded,
    StreamStarted,
    encode,
)
from runner.live.input_damage import InputDamage
from runner.live.report import ErrorReport

STREAM = StreamStarted(
    source="clip.mp4", source_width=64, source_height=48, width=512, height=512, fps=24.0, frames=100
)
SETTINGS = Settings("a:B", loop=False)


class TestFigures:
    def test_percentiles_are_those_of_the_whole_stream_once_it_has_ended(self) -> None:
        figures = RunFigures()
        figures.add(MetricsTaken(frames_out=30, latency_ms={"p50": 10.0}, stages_ms={"pipeline": 4.0}))
        assert figures.latency_ms == {"p50": 10.0}
        figures.add(StreamEnded(frames_out=70, latency_ms={"p50": 20.0}, stages_ms={"pipeline": 5.0}))
        assert figures.latency_ms == {"p50": 20.0}
        assert figures.stages_ms == {"pipeline": 5.0}

    def test_memory_is_the_peak(self) -> None:
        figures = RunFigures()
        for memory, vram in ((5, None), (9, 70), (7, 30)):
            figures.add(MetricsTaken(memory_bytes=memory, vram_bytes=vram))
        assert (figures.memory_bytes, figures.vram_bytes) == (9, 70)

    def test_a_silent_input_is_a_warning_with_its_longest_silence(self) -> None:
        run = HeadlessRun(replace(SETTINGS, input="webcam"))
        run.figures.add(MetricsTaken(silent_s=2.9))
        assert run.report().warnings == ()
        for silent_s in (3.0, 4.5, 0.0):
            run.figures.add(MetricsTaken(silent_s=silent_s))
        assert run.report().warnings == ("input 'webcam': no frame for 4 s",)

    def test_loads_are_kept_with_their_steps_and_outcome(self) -> None:
        figures = RunFigures()
        failed = ErrorReport("import", "SyntaxError", "expected ':'")
        figures.add(LoadFailed(revision=1, reason="start", report=failed, total_s=0.5))
        figures.add(LoadSucceeded(revision=2, reason="saved", steps=(Step(name="import", seconds=0.25),), total_s=0.3))
        assert [(load.revision, load.outcome, load.steps) for load in figures.loads] == [
            (1, "failed", {}),
            (2, "serving", {"import": 0.25}),
        ]

    def test_a_load_says_what_happened_how_and_why(self) -> None:
        figures = RunFigures()
        plan = LoadPlan(level="process", way="hand-over", why="no room for two", memory="GPU", standby="spawn")
        figures.add(
            LoadSucceeded(
                revision=3,
                reason="back to revision 1",
                files=("/p/a.py",),
                plan=plan,
                frames_lost=4,
                forced=True,
                output_gap_s=0.123456,
                memory_before_bytes=10,
                memory_after_bytes=20,
                vram_after_bytes=30,
                restores=1,
                total_s=0.5,
            )
        )
        (load,) = figures.loads
        assert asdict(load) == {
            "revision": 3, "reason": "back to revision 1", "outcome": "serving", "steps": {}, "total_s": 0.5,
            "files": ("/p/a.py",), "level": "process", "way": "hand-over", "why": "no room for two", "standby": "spawn",
            "memory_before_bytes": 10, "memory_after_bytes": 20, "vram_before_bytes": None, "vram_after_bytes": 30,
            "frames_lost": 4, "forced": True, "output_gap_s": 0.1235, "restores": 1,
        }  # fmt: skip

    def test_a_load_that_was_given_up_has_what_was_known_of_it(self) -> None:
        figures = RunFigures()
        plan = LoadPlan(level="code", way="in place")
        figures.add(LoadStarted(revision=2, reason="saved a.py", files=("/p/a.py",), at=10.0))
        figures.add(LoadPlanned(revision=2, plan=plan))
        figures.add(LoadSuperseded(revision=2, at=10.25))
        figures.add(LoadSuperseded(revision=3))
        first, second = figures.loads
        assert (first.reason, first.files, first.level, first.total_s) == ("saved a.py", ("/p/a.py",), "code", 0.25)
        assert (second.reason, second.outcome, second.level) == ("", "superseded", "")

    def test_new_code_that_was_taken_back_counts_as_failed_only(self) -> None:
        figures = RunFigures()
        report = ErrorReport("frame", "NameError", "name 'x' is not defined")
        figures.add(LoadSucceeded(revision=1, reason="start"))
        figures.add(LoadSucceeded(revision=2, reason="saved"))
        figures.add(LoadFailed(revision=2, reason="saved", report=report, serving=1))
        assert [(load.revision, load.outcome) for load in figures.loads] == [(1, "serving"), (2, "failed")]

    def test_params_and_warnings_are_the_latest_and_all(self) -> None:
        figures = RunFigures()
        figures.add(LoadSucceeded(revision=1, reason="start", params={"a": 1}, warnings=("careful",)))
        figures.add(PipelineWarned(revision=1, message="too bright"))
        figures.add(ParamsChanged(params={"a": 2}))
        figures.add(InputDamaged(damage=InputDamage(missing=3, expected=9)))
        assert figures.params == {"a": 2}
        assert figures.warnings == [
            "careful",
            "too bright",
            "the input is damaged or cut off: 3 of 9 frames are missing",
        ]

    def test_a_reload_repeats_no_warning_and_keeps_the_params(self) -> None:
        figures = RunFigures()
        figures.add(LoadSucceeded(revision=1, reason="start", params={"a": 1}, warnings=("careful",)))
        figures.add(LoadSucceeded(revision=2, reason="saved", warnings=("careful", "too bright")))
        assert (figures.params, figures.warnings) == ({"a": 1}, ["careful", "too bright"])

    def test_a_stream_that_failed_before_it_counted_has_the_frames_of_the_metrics(self) -> None:
        figures = RunFigures()
        figures.add(MetricsTaken(frames_in=10, frames_out=8))
        figures.add(StreamEnded(error="the camera was unplugged", error_kind="source"))
        assert figures.frames == (10, 8)

    def test_the_streams_end_has_the_last_word_on_frames(self) -> None:
        figures = RunFigures()
        figures.add(MetricsTaken(frames_in=10, frames_out=8))
        assert figures.frames == (10, 8)
        figures.add(StreamEnded(frames_in=12, frames_out=12))
        assert figures.frames == (12, 12)


class TestProgress:
    def test_loading_says_its_step(self) -> None:
        load = Load(revision=1, reason="start", started_at=0.0, step="import torch")
        assert progress_of(Snapshot(load=load), SETTINGS).doing == "loading the pipeline: import torch"
        assert progress_of(Snapshot(), SETTINGS).doing == "loading the pipeline"

    def test_an_input_that_gives_no_frames_is_named(self) -> None:
        snapshot = Snapshot(serving=1, stream=STREAM, metrics=MetricsTaken(frames_out=25, silent_s=3.5))
        progress = progress_of(snapshot, replace(SETTINGS, input="webcam"))
        assert (progress.doing, progress.frames) == ("waiting for a frame of input 'webcam'", 0)

    def test_then_the_input_then_the_frames(self) -> None:
        snapshot = Snapshot(serving=1)
        assert progress_of(snapshot, SETTINGS).doing == "opening the input"
        metrics = MetricsTaken(frames_out=25, fps_out=50.0, latency_ms={"p50": 3.0})
        progress = progress_of(replace(snapshot, stream=STREAM, metrics=metrics), SETTINGS)
        assert (progress.frames, progress.total, progress.fps, progress.latency_ms) == (25, 100, 50.0, 3.0)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, 100),
            ({"frames": 30}, 30),
            ({"duration_s": 2.0}, 48),
            ({"frames": 500}, 100),
            ({"frames": 500, "loop": True}, 500),
            ({"loop": True}, None),
        ],
    )
    def test_the_expected_frames_are_the_nearest_limit(self, changes: dict[str, object], expected: int | None) -> None:
        assert expected_frames(replace(SETTINGS, **changes), STREAM) == expected  # type: ignore[arg-type]


class TestReport:
    @pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf, 1.5], {"deep": [math.nan]}])
    def test_numbers_without_a_json_form_are_null(self, value: object) -> None:
        def refuse(constant: str) -> None:
            pytest.fail(f"{constant} is not JSON")

        report = RunReport(pipeline="a:B", input=RunInput("clip.mp4"), params={"limit": value})
        json.loads(report.as_json(), parse_constant=refuse)
        json.loads(encode(ParamsChanged(params={"limit": value})), parse_constant=refuse)

    def test_the_document_has_every_key_when_nothing_ran(self) -> None:
        error = RunError("usage", "no such file", "look elsewhere", 2)
        document = json.loads(RunReport(pipeline="a:B", input=RunInput("clip.mp4"), error=error).as_json())
        assert document["ok"] is False
        assert document["error"] == {
            "kind": "usage",
            "message": "no such file",
            "hint": "look elsewhere",
            "exit_code": 2,
            "report": None,
        }
        described = (Path(__file__).parents[2] / "src/ai_runner_studio/run_report.py").read_text()
        assert all(f"\n    {key} " in described for key in document)

    def test_every_key_of_a_load_is_described(self) -> None:
        load = RunLoad(revision=1, reason="start", outcome="serving", steps={}, total_s=1.0)
        report = RunReport(pipeline="a:B", input=RunInput("clip.mp4"), loads=(load,))
        (document,) = json.loads(report.as_json())["loads"]
        described = (
            (Path(__file__).parents[2] / "src/ai_runner_studio/run_report.py").read_text().partition('"""\n\n')[0]
        )
        documented = (Path(__file__).parents[3] / "docs/run.md").read_text()
        for key in document:
            assert re.search(rf"^    {key}\b|, {key}\n", described, re.MULTILINE), key
            assert f"`{key}`" in documented, key

    def test_the_summary_is_short(self) -> None:
        report = RunReport(
            pipeline="a:B",
            input=RunInput("clip.mp4"),
            frames_out=60,
            duration_s=2.0,
            latency_ms={"p50": 3.25, "p95": 9.0},
            dropped={"input busy": 2},
            output="/tmp/out.mp4",
        )
        assert report.summary().splitlines() == [
            "60 frames in 2.0 s (30.0 fps); latency p50 3.2 ms, p95 9.0 ms; dropped 2 input busy",
            "written: /tmp/out.mp4",
        ]


class TestPartialOutput:
    def test_the_file_appears_only_when_it_is_kept(self, tmp_path: Path) -> None:
        output = PartialOutput(tmp_path / "out.mp4")
        output.prepare()
        output.partial.write_text("whole")
        assert not (tmp_path / "out.mp4").exists()
        assert output.settle(keep=True)
        assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]

    def test_else_nothing_remains_of_it_nor_of_what_the_sink_left(self, tmp_path: Path) -> None:
        (tmp_path / "out.mp4").write_text("earlier")
        output = PartialOutput(tmp_path / "out.mp4")
        output.prepare()
        (output.folder / "half.part").touch()
        assert not output.settle(keep=False)
        assert not output.settle(keep=True)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


class TestStalePartialOutputs:
    def test_only_those_of_runs_that_exited_are_removed(self, tmp_path: Path) -> None:
        exited = subprocess.Popen([sys.executable, "-c", ""])
        exited.wait()
        kept = [f".out.mp4.partial-{os.getppid()}", ".out.mp4.partial-x", f".other.mp4.partial-{exited.pid}"]
        for name in (*kept, f".out.mp4.partial-{exited.pid}"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "out.mp4").touch()
        output = PartialOutput(tmp_path / "out.mp4")
        output.prepare()
        assert {path.name for path in tmp_path.iterdir()} == {*kept, output.folder.name}

    def test_a_folder_that_is_missing_is_wrong_use(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--output: nothing can be written into"):
            PartialOutput(tmp_path / "missing/out.mp4").prepare()


class TestFailures:
    def test_a_failed_load_is_none_while_an_earlier_revision_serves(self) -> None:
        run = HeadlessRun(SETTINGS)
        report = ErrorReport("import", "SyntaxError", "expected ':'")
        run._hear(LoadFailed(revision=2, reason="saved", report=report, serving=1))
        assert run.report().error is None
        run._hear(LoadFailed(revision=3, reason="saved", report=report))
        error = run.report().error
        assert error is not None
        assert (error.kind, error.report) == ("pipeline", report)

    def test_an_exit_of_the_process_is_one_with_its_last_lines(self) -> None:
        run = HeadlessRun(SETTINGS)
        logs = tuple(f"line {number}" for number in range(9))
        run._hear(ProcessExited(revision=1, pid=7, reason="exited with code 3", logs=logs))
        error = run.report().error
        assert error is not None
        assert "exited with code 3" in error.message
        assert error.hint.splitlines()[1:] == [f"line {number}" for number in range(4, 9)]

    def test_an_error_of_the_sink_names_the_output_that_was_asked_for(self, tmp_path: Path) -> None:
        run = HeadlessRun(replace(SETTINGS, output=str(tmp_path / "out.mp4")))
        assert run._output is not None
        run._hear(STREAM)
        run._hear(StreamEnded(error=f"{run._output.partial}: disk full", error_kind="sink"))
        assert run.report().error == RunError("sink", f"{tmp_path / 'out.mp4'}: disk full")

    @pytest.mark.parametrize("kind", ["source", "sink"])
    def test_what_cannot_be_opened_is_wrong_use_and_what_breaks_off_is_not(self, kind: ErrorKind) -> None:
        for events, code in (((), 2), ((STREAM,), 1)):
            run = HeadlessRun(SETTINGS)
            for event in (*events, StreamEnded(error="the server refused", error_kind=kind)):
                run._hear(event)
            assert run.report().error == RunError(kind, "the server refused", exit_code=code)

    @pytest.mark.parametrize(("kind", "code"), [("ParamsError", 2), ("ModuleNotFoundError", 1)])
    def test_refused_params_are_wrong_use_and_a_params_module_that_fails_is_not(self, kind: str, code: int) -> None:
        run = HeadlessRun(SETTINGS)
        run._hear(LoadFailed(revision=1, reason="start", report=ErrorReport("params", kind, "x"), total_s=0.1))
        error = run.report().error
        assert error is not None
        assert error.exit_code == code


class TestOutputOfARun:
    """The partial output gets its name, or is removed, once the host has closed it."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> HeadlessRun:
        """A run whose sink has written half of the output; an earlier output has its name."""
        (tmp_path / "out.mp4").write_text("earlier")
        run = HeadlessRun(replace(SETTINGS, output=str(tmp_path / "out.mp4")))
        assert run._output is not None
        run._output.prepare()
        run._output.partial.write_text("new")
        return run

    def test_a_complete_stream_leaves_the_output(self, run: HeadlessRun, tmp_path: Path) -> None:
        run._hear(StreamEnded(frames_in=3, frames_out=3))
        run._settle_output()
        assert run.report().error is None
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.mp4", "new")]

    def test_a_stream_that_failed_keeps_the_earlier_output(self, run: HeadlessRun, tmp_path: Path) -> None:
        run._hear(STREAM)
        run._hear(StreamEnded(frames_in=3, frames_out=1, error="disk full", error_kind="sink"))
        run._settle_output()
        assert run.report().error == RunError("sink", "disk full")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.mp4", "earlier")]

    def test_a_cancelled_run_keeps_the_earlier_output(self, run: HeadlessRun, tmp_path: Path) -> None:
        run._settle_output()  # no StreamEnded, as after Ctrl-C
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.mp4", "earlier")]

    def test_a_stream_without_a_frame_is_a_failure(self, run: HeadlessRun) -> None:
        assert run._output is not None
        run._output.partial.unlink()
        run._hear(StreamEnded(frames_in=3))
        run._settle_output()
        report = run.report()
        assert report.error is not None
        assert (report.error.kind, report.output) == ("sink", None)

    def test_the_first_failure_is_the_one_reported(self, run: HeadlessRun) -> None:
        report = ErrorReport("frame", "ValueError", "too bright")
        run._hear(PipelineFailed(revision=1, report=report))
        run._hear(StreamEnded(error="the pipeline process exited", error_kind="pipeline"))
        run._settle_output()
        error = run.report().error
        assert error is not None
        assert error.report is report

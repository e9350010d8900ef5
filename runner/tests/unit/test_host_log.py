"""What a production host logs, for whoever reads a container's log."""

from __future__ import annotations

import logging

import pytest

from runner.live.events import Event, LoadFailed, LoadSucceeded, LogWritten, MetricsTaken, ProcessExited, StreamEnded
from runner.live.host_log import log_event
from runner.live.report import ErrorReport

WRONG_PATH = ErrorReport("import", "ModuleNotFound", "no module 'tint'", traceback="Traceback of the runner")
WRONG_CODE = ErrorReport(
    "initialize", "ValueError", "no such size", file="/p/tint.py", line=3, traceback="Traceback: 3"
)


@pytest.mark.parametrize(
    ("event", "level", "words", "without"),
    [
        (LoadFailed(revision=1, reason="start", report=WRONG_PATH), "ERROR", "no module 'tint'", "Traceback"),
        (LoadFailed(revision=1, reason="start", report=WRONG_CODE), "ERROR", "Traceback: 3", "nothing of this"),
        (LoadSucceeded(revision=1, reason="start", total_s=2.5), "INFO", "load 1 serves on cpu after 2.5 s", "lost"),
        (
            LoadSucceeded(revision=2, reason="saved", total_s=0.5, frames_lost=3, output_gap_s=0.1204),
            "INFO",
            "load 2 serves on cpu after 0.5 s; 3 frames lost, output gap 120 ms",
            "nothing of this",
        ),
        (
            LogWritten(level="WARNING", source="stdout", message="from the pipeline"),
            "WARNING",
            "from the",
            "nothing of this",
        ),
        (ProcessExited(revision=1, pid=7, reason="was killed by SIGKILL"), "ERROR", "the last time", "nothing of this"),
        (
            StreamEnded(error="the relay is gone", frames_in=3),
            "INFO",
            "3 frames in, 0 out: the relay",
            "nothing of this",
        ),
    ],
)
def test_events_are_told_in_words(
    event: Event, level: str, words: str, without: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        log_event(event)
    (record,) = caplog.records
    assert record.levelname == level
    assert record.name.startswith("pipeline")
    assert words in record.getMessage()
    assert without not in record.getMessage()


def test_figures_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        log_event(MetricsTaken())
    assert caplog.records == []

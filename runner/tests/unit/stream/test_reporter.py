"""What the other side of a stream is told: contract 5.2, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from runner.live.events import LogWritten, PipelineFailed, ProcessExited
from runner.live.pipelines import PipelineSpec
from runner.live.process.guardian import ProcessGuardian
from runner.live.process.policy import PRODUCTION
from runner.live.report import ErrorReport
from runner.live.streamer.reporter import StreamReporter


class Told:
    def __init__(self) -> None:
        spec = PipelineSpec(name="noop", pipeline_cls="runner.live.pipelines.noop:Noop")
        self.guardian = ProcessGuardian(spec, PRODUCTION, lambda _event: None)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.reporter = StreamReporter(self.guardian, lambda event, kind: self.events.append((kind, event)))


@pytest.fixture
async def told() -> Told:
    return Told()


async def test_status_has_the_fields_of_the_contract(told: Told) -> None:
    told.guardian.health.params_taken({"width": 512})
    told.reporter.report()
    (kind, status) = told.events[0]
    assert kind == "ai_stream_events"
    assert (status["type"], status["pipeline"], status["state"]) == ("status", "noop", "LOADING")
    assert status["last_status_timestamp"] == status["start_time"]
    assert status["inference_status"]["last_params"] == {"width": 512}
    assert status["inference_status"]["last_params_hash"]


async def test_params_and_restart_logs_are_sent_once_after_they_changed(told: Told) -> None:
    told.guardian.health.params_taken({"a": 1})
    told.guardian.health.restarted(("the last line",))
    for _ in range(2):
        told.reporter.report()
    told.guardian.health.params_taken({"a": 2})
    told.reporter.report()
    inference = [status["inference_status"] for _, status in told.events]
    assert [part["last_params"] for part in inference] == [{"a": 1}, None, {"a": 2}]
    assert [part["last_restart_logs"] for part in inference] == [["the last line"], None, None]
    stamps = [status["timestamp"] for _, status in told.events]
    assert [status["last_status_timestamp"] for _, status in told.events][1:] == stamps[:2]


async def test_errors_and_restarts_have_their_time_in_seconds(told: Told) -> None:
    report = ErrorReport("frame", "ValueError", "no such mode", "Choose another one.")
    told.reporter.hear(PipelineFailed(revision=1, report=report, at=12.5))
    told.reporter.hear(LogWritten(level="ERROR", source="pipeline", message="said so", report_error=True, at=13.5))
    told.reporter.hear(LogWritten(level="ERROR", source="pipeline", message="for the log alone"))
    told.reporter.hear(
        ProcessExited(revision=1, pid=7, reason="was killed by SIGKILL", logs=("bye",), restarting=True, at=14.5)
    )
    kinds = {kind for kind, _ in told.events}
    assert kinds == {"ai_stream_events"}
    first, second, third, restart = [event for _, event in told.events]
    assert first == {
        "type": "error",
        "pipeline": "noop",
        "message": "ValueError: no such mode. Choose another one.",
        "time": 12.5,
    }
    assert (second["message"], second["time"]) == ("said so", 13.5)
    assert "SIGKILL" in third["message"]
    assert restart == {
        "type": "restart", "pipeline": "noop", "restart_count": 1, "restart_time": 14.5, "restart_logs": ["bye"],
    }  # fmt: skip

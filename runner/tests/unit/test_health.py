"""Health: what a status reports of errors and restarts."""

from __future__ import annotations

from typing import Any

import pytest

from runner.live.process.health import Health
from runner.live.process.outputs import FrameRate
from runner.live.process.state import PipelineState


@pytest.fixture
def health() -> Health:
    return Health("noop")


def inference(health: Health) -> dict[str, Any]:
    return health.status(FrameRate(), FrameRate()).inference_status.model_dump()


class TestRestarts:
    def test_each_is_counted_with_the_last_lines_of_the_process(self, health: Health) -> None:
        health.restarted(("first",))
        health.restarted(("CUDA error", "aborted"))
        status = inference(health)
        assert (health.restarts, status["restart_count"]) == (2, 2)
        assert status["last_restart_logs"] == ["CUDA error", "aborted"]
        assert status["last_restart_time"] > 0

    def test_the_lines_hold_no_secrets(self, health: Health) -> None:
        health.restarted(("GET /model with Authorization: Bearer abc.def", "password=hunter2"))
        assert inference(health)["last_restart_logs"] == [
            "GET /model with Authorization: Bearer ***",
            "password=***",
        ]

    def test_a_restart_lowers_the_state_for_a_minute(self, health: Health) -> None:
        health.restarted(())
        facts = health.facts(FrameRate(), FrameRate(), alive=True, ready=True, streaming=True)
        assert 0 <= facts.since_restart_s < 60
        assert facts.since_error_s == float("inf")


class TestErrors:
    def test_the_newest_is_shown_without_secrets(self, health: Health) -> None:
        health.failed("first")
        health.failed("401 from https://user:hunter2@models.example/a")
        status = inference(health)
        assert status["last_error"] == "401 from https://models.example/a"
        assert status["last_error_time"] > 0
        assert status["restart_count"] == 0

    def test_an_error_counts_from_when_it_happened(self, health: Health) -> None:
        health.failed("first")
        facts = health.facts(FrameRate(), FrameRate(), alive=True, ready=True, streaming=True)
        assert 0 <= facts.since_error_s < 15
        assert facts.since_restart_s == float("inf")


def test_params_are_shown_with_their_hash(health: Health) -> None:
    health.params_taken({"b": 1, "a": "x"})
    status = inference(health)
    assert status["last_params"] == {"b": 1, "a": "x"}
    assert status["last_params_hash"] == "19afc29426da0042fc4e8b7c6b727fdf"
    assert status["last_params_update_time"] > 0


def test_a_status_is_a_copy(health: Health) -> None:
    before = health.status(FrameRate(), FrameRate())
    health.set_state(PipelineState.ERROR)
    health.restarted(("line",))
    assert (before.state, before.inference_status.restart_count) == (PipelineState.LOADING, 0)


def test_setting_a_state_returns_the_one_before(health: Health) -> None:
    assert health.set_state(PipelineState.ONLINE) is PipelineState.LOADING
    assert health.set_state(PipelineState.OFFLINE) is PipelineState.ONLINE
    assert health.status(FrameRate(), FrameRate()).state is PipelineState.OFFLINE

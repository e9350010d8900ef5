"""PrometheusMetrics: counters that only grow, histograms by stage, and what they cost."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from runner.live.events import (
    LoadFailed,
    LoadPlan,
    LoadPlanned,
    LoadSucceeded,
    LoadSuperseded,
    MetricsTaken,
    PipelineFailed,
    ProcessExited,
    StateChanged,
    StreamEnded,
    StreamStarted,
)
from runner.live.report import ErrorReport
from runner.live.streamer.metrics import STAGES
from runner.live.streamer.prometheus import BUCKETS_S, PrometheusMetrics
from runner.live.trickle.frame import STAMPS, RawFrame

REPORT = ErrorReport("frame", "ValueError", "no")


def values(metrics: PrometheusMetrics) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value, read as Prometheus reads it."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[(sample.name, *(sample.labels[name] for name in sorted(sample.labels)))] = sample.value
    return found


def started() -> StreamStarted:
    return StreamStarted(source="x", source_width=1, source_height=1, width=1, height=1)


def delivered(**stamps_ms: float) -> RawFrame:
    stamps = {name: int(at * 1e6) for name, at in stamps_ms.items()}
    return RawFrame(np.empty((0, 0, 3), np.uint8), 0, Fraction(1, 30), 0, stamps)


def test_the_state_is_one_of_all() -> None:
    metrics = PrometheusMetrics()
    assert values(metrics)["ai_runner_state", "LOADING"] == 1
    metrics.hear(StateChanged(state="ONLINE", previous="LOADING"))
    state = {name[1]: value for name, value in values(metrics).items() if name[0] == "ai_runner_state"}
    assert [name for name, value in state.items() if value] == ["ONLINE"]
    assert len(state) == 6


def test_frames_and_drops_go_on_where_a_streams_counts_begin_anew() -> None:
    metrics = PrometheusMetrics()
    metrics.hear(started())
    metrics.hear(MetricsTaken(frames_in=10, frames_out=8, dropped={"superseded": 2}))
    metrics.hear(MetricsTaken(frames_in=15, frames_out=12, dropped={"superseded": 3}))
    metrics.hear(MetricsTaken(frames_in=20, frames_out=12, dropped={"superseded": 1, "sink": 1}))  # another process
    metrics.hear(started())
    metrics.hear(MetricsTaken(frames_in=20, frames_out=4, dropped={}))
    now = values(metrics)
    assert now["ai_runner_frames_total", "in"] == 40
    assert now["ai_runner_frames_total", "out"] == 16
    assert now["ai_runner_frames_dropped_total", "superseded"] == 4
    assert now["ai_runner_frames_dropped_total", "sink"] == 1
    assert now["ai_runner_streams_total",] == 2


def test_what_happens_is_counted() -> None:
    metrics = PrometheusMetrics()
    code = LoadPlan(level="code")
    metrics.hear(LoadSucceeded(revision=1, reason=""))
    metrics.hear(LoadFailed(revision=2, reason="", report=REPORT, plan=code))
    metrics.hear(LoadPlanned(revision=3, plan=code))
    metrics.hear(LoadSuperseded(revision=3))
    metrics.hear(ProcessExited(revision=1, pid=7, reason="", restarting=True))
    metrics.hear(ProcessExited(revision=1, pid=8, reason=""))
    metrics.hear(PipelineFailed(revision=1, report=REPORT, count=40))
    metrics.hear(StreamEnded(error="gone", error_kind="source"))
    metrics.hear(StreamEnded())
    now = values(metrics)
    loads = {name[1:]: value for name, value in now.items() if name[0] == "ai_runner_loads_total"}
    assert loads == {("process", "succeeded"): 1, ("code", "failed"): 1, ("code", "superseded"): 1}
    assert now["ai_runner_process_exits_total",] == 2
    assert now["ai_runner_process_restarts_total",] == 1
    assert now["ai_runner_pipeline_errors_total",] == 40
    assert {name[1:]: value for name, value in now.items() if name[0] == "ai_runner_streams_failed_total"} == {
        ("source",): 1
    }


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"vram_bytes": 3, "vram_total_bytes": 9}, {"vram_bytes": 3, "vram_total_bytes": 9}),
        ({"memory_bytes": 5, "cpu_percent": 150.0}, {"memory_bytes": 5, "cpu_cores": 1.5}),
        ({"loading_s": 2.5}, {"loading_seconds": 2.5}),
    ],
)
def test_gauges(taken: dict[str, Any], expected: dict[str, float]) -> None:
    metrics = PrometheusMetrics()
    metrics.hear(MetricsTaken(fps_in=24.0, **taken))
    now = values(metrics)
    assert now["ai_runner_fps", "in"] == 24
    assert {name: now[f"ai_runner_{name}",] for name in expected} == expected
    assert (("ai_runner_vram_bytes",) in now) == ("vram_bytes" in taken)


def test_histograms_by_stage() -> None:
    metrics = PrometheusMetrics()
    whole = {name: 4.0 * number for number, name in enumerate(STAMPS)}
    metrics.observe(delivered(**whole))
    metrics.observe(delivered(captured=1, queued=1, delivered=7001))  # the rest of its way is not known
    now = values(metrics)
    counts = {name[1]: value for name, value in now.items() if name[0] == "ai_runner_stage_seconds_count"}
    assert set(counts) == {stage.replace(" ", "_") for stage in STAGES}
    assert (counts["queue_in"], counts["pipeline"]) == (2, 1)
    assert now["ai_runner_stage_seconds_bucket", "0.005", "pipeline"] == 1
    assert now["ai_runner_stage_seconds_bucket", "0.0025", "pipeline"] == 0
    assert now["ai_runner_latency_seconds_count",] == 2
    assert now["ai_runner_latency_seconds_bucket", "5.0"] == 1
    assert now["ai_runner_latency_seconds_bucket", "+Inf"] == 2
    assert now["ai_runner_latency_seconds_sum",] == pytest.approx(7.028)
    assert (BUCKETS_S[0], BUCKETS_S[-1]) == (0.001, 5.0)

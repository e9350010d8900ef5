"""What is made of the figures of a route, and what the host is asked for it."""

from __future__ import annotations

import json

from ai_runner_studio.headless import expected_frames, progress_of
from ai_runner_studio.route import drops, drops_in_all, route_flags
from ai_runner_studio.run_figures import RunFigures
from ai_runner_studio.run_report import RunInput, RunReport, RunRoute
from ai_runner_studio.settings import Settings
from ai_runner_studio.snapshot import Snapshot
from runner.live.events import MetricsTaken, Route, StreamEnded, StreamStarted

STREAM = StreamStarted(source="clip", source_width=64, source_height=48, width=512, height=512, fps=30.0, frames=90)
ROUTE = Route(
    hops_ms={"encode": 5.0, "relay, decode": 2.0, "runner": 4.0, "total": 16.0},
    total_ms={"p50": 16.0, "p95": 30.0},
    sent=90,
    returned=70,
    dropped={"encoder": 2, "source": 1},
)
METRICS = MetricsTaken(frames_out=71, dropped={"rate": 12, "source": 3}, decoder="h264", max_fps=24.0, route=ROUTE)


def test_the_host_knows_what_it_is_asked() -> None:
    from runner.live.infer import _parser

    asked = route_flags(Settings("a:B", max_fps=0.0, hardware="software"))
    options = _parser().parse_args(asked)
    assert (options.max_fps, options.hardware) == (0.0, "software")
    assert route_flags(Settings("a:B"))[:2] == ["--max-fps", "24"]


def test_what_is_dropped_in_the_runner_and_beside_it_adds_up() -> None:
    assert drops(METRICS) == {"rate": 12, "source": 4, "encoder": 2}
    assert drops(MetricsTaken(dropped={"rate": 1})) == {"rate": 1}


def test_what_nobody_has_counted_is_lost() -> None:
    assert drops_in_all(METRICS) == {"rate": 12, "source": 4, "encoder": 2, "lost": 2}
    assert drops_in_all(MetricsTaken(frames_in=3)) == {}
    assert drops_in_all(MetricsTaken(route=Route(sent=5, returned=5))) == {}
    assert drops_in_all(MetricsTaken(dropped={"rate": 2}, route=Route(sent=5, returned=4))) == {"rate": 2}


class TestFigures:
    def test_the_streams_end_has_the_last_word_and_loses_nothing_before_it(self) -> None:
        figures = RunFigures()
        assert figures.route is None
        figures.add(METRICS)
        assert (figures.route, figures.dropped.get("lost")) == (ROUTE, None)
        ended = Route(sent=90, returned=90)
        figures.add(StreamEnded(route=ended))
        assert figures.route == ended
        assert figures.dropped["lost"] == 2

    def test_a_stream_that_failed_has_frames_under_way_not_lost(self) -> None:
        figures = RunFigures()
        figures.add(METRICS)
        figures.add(StreamEnded(error="the camera was unplugged", error_kind="source", route=ROUTE))
        assert "lost" not in figures.dropped

    def test_figures_that_come_after_the_end_are_of_no_stream(self) -> None:
        figures = RunFigures()
        figures.add(METRICS)
        figures.add(StreamEnded(route=ROUTE))
        figures.add(MetricsTaken(memory_bytes=7))
        assert (figures.dropped["rate"], figures.memory_bytes) == (12, 7)


class TestProgress:
    def test_frames_are_those_that_came_back_and_time_is_that_of_the_whole_way(self) -> None:
        snapshot = Snapshot(phase="running", serving=1, stream=STREAM, metrics=METRICS)
        progress = progress_of(snapshot, Settings("a:B", loop=False))
        assert (progress.frames, progress.total, progress.latency_ms) == (70, 72, 16.0)

    def test_a_limit_above_the_inputs_rate_takes_nothing_away(self) -> None:
        assert expected_frames(Settings("a:B", loop=False), STREAM, 60.0) == 90


class TestReport:
    ROUTE = RunRoute(
        sent=90, returned=70, hops_ms=ROUTE.hops_ms, total_ms=ROUTE.total_ms, decoder="h264", encoder="libx264",
        max_fps=24.0,
    )  # fmt: skip

    def test_without_one_it_is_null(self) -> None:
        assert json.loads(RunReport(pipeline="a:B", input=RunInput("x")).as_json())["route"] is None

    def test_a_person_reads_what_came_back_and_what_it_took(self) -> None:
        lines = RunReport(pipeline="a:B", input=RunInput("x"), route=self.ROUTE).summary().splitlines()
        assert lines[1:] == [
            "route: 90 frames sent, 70 came back; total p50 16.0 ms, p95 30.0 ms",
            "hops, median ms: encode 5.0; relay, decode 2.0; runner 4.0",
            "runner: decoder h264, encoder libx264, at most 24 fps",
        ]

    def test_where_nothing_came_back_only_that_is_said(self) -> None:
        assert RunRoute(sent=3).summary() == ["route: 3 frames sent, 0 came back"]

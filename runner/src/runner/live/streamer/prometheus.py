"""PrometheusMetrics: what a host tells and what its frames have taken, as text for Prometheus.

Counters count for the life of the host: they go on where the counts of a stream begin anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..events import (
    Event,
    LoadFailed,
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
from ..process.state import PipelineState
from ..trickle.frame import RawFrame
from .metrics import STAGES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)

_PREFIX = "ai_runner_"
_STAGES = tuple((stage.replace(" ", "_"), first, last) for stage, (first, last) in STAGES.items())
_WHOLE = ("captured", "delivered")


class _Histogram:
    """Durations, counted by bucket. A few list operations, no lock: all of it happens on one event loop."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    @property
    def sum_s(self) -> float:
        return self._sum_s

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound -> how many durations lie at or below it."""
        below, total = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            below.append((bound, float(total)))
        return below


class PrometheusMetrics:
    """The metrics of one host."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self._state = PipelineState.LOADING.value
        self._now = MetricsTaken()
        self._frames_in_stream: dict[str, int] = {}  # the latest counts of the running stream
        self._dropped_in_stream: dict[str, int] = {}
        self._frames: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._loads: Counter[tuple[str, str]] = Counter()
        self._level: dict[int, str] = {}  # revision that is being loaded -> how
        self._exits = self._restarts = self._errors = self._streams = 0
        self._failures: Counter[str] = Counter()
        self._stages = [(first, last, _Histogram()) for _, first, last in _STAGES]
        self._total = _Histogram()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def hear(self, event: Event) -> None:
        """Take in what the host tells."""
        match event:
            case MetricsTaken():
                self._measured(event)
            case StateChanged(state=state):
                self._state = state
            case LoadPlanned(revision=revision, plan=plan):
                self._level[revision] = plan.level
            case LoadSucceeded() | LoadFailed():
                result = "succeeded" if isinstance(event, LoadSucceeded) else "failed"
                self._loads[result, event.plan.level] += 1
                self._level.pop(event.revision, None)
            case LoadSuperseded(revision=revision):
                self._loads["superseded", self._level.pop(revision, "process")] += 1
            case ProcessExited(restarting=restarting):
                self._exits += 1
                self._restarts += restarting
            case PipelineFailed(count=count):
                self._errors += count
            case StreamStarted():
                self._streams += 1
                self._frames_in_stream, self._dropped_in_stream = {}, {}
            case StreamEnded(error_kind=kind) if event.error:
                self._failures[kind or "other"] += 1

    def observe(self, frame: RawFrame) -> None:
        """An output of the pipeline that has been delivered: how long each stage has taken."""
        stamps = frame.stamps
        for first, last, histogram in self._stages:
            if first in stamps and last in stamps:
                histogram.add((stamps[last] - stamps[first]) / 1e9)
        first, last = _WHOLE
        if first in stamps and last in stamps:
            self._total.add((stamps[last] - stamps[first]) / 1e9)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from self._gauges()
        yield from self._counters()
        yield from self._histograms()

    def _measured(self, now: MetricsTaken) -> None:
        self._now = now
        _grow(self._frames, self._frames_in_stream, {"in": now.frames_in, "out": now.frames_out})
        _grow(self._dropped, self._dropped_in_stream, now.dropped)

    def _gauges(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        now = self._now
        state = GaugeMetricFamily(f"{_PREFIX}state", "1 for the state that the pipeline is in.", labels=["state"])
        for name in PipelineState:
            state.add_metric([name.value], float(name.value == self._state))
        yield state
        fps = GaugeMetricFamily(f"{_PREFIX}fps", "Frames per second into and out of the pipeline.", labels=["side"])
        fps.add_metric(["in"], now.fps_in)
        fps.add_metric(["out"], now.fps_out)
        yield fps
        loading = "For how long a load has been under way, 0 without one."
        yield GaugeMetricFamily(f"{_PREFIX}loading_seconds", loading, value=now.loading_s or 0.0)
        memory = "Resident memory of the pipeline process."
        yield GaugeMetricFamily(f"{_PREFIX}memory_bytes", memory, value=now.memory_bytes)
        if now.vram_bytes is not None:
            yield GaugeMetricFamily(f"{_PREFIX}vram_bytes", "Its GPU memory.", value=now.vram_bytes)
        if now.vram_total_bytes is not None:
            yield GaugeMetricFamily(f"{_PREFIX}vram_total_bytes", "All memory of the GPU.", value=now.vram_total_bytes)
        cpu = "CPU use of the pipeline process; 1 is one core."
        yield GaugeMetricFamily(f"{_PREFIX}cpu_cores", cpu, value=now.cpu_percent / 100)

    def _counters(self) -> Iterator[Metric]:
        yield _counter("frames", "Frames into the pipeline and out of it.", ["side"], _rows(self._frames))
        yield _counter("frames_dropped", "Frames that came to nothing.", ["reason"], _rows(self._dropped))
        loads = [([result, level], count) for (result, level), count in self._loads.items()]
        yield _counter("loads", "Loads of the pipeline, by result and level.", ["result", "level"], loads)
        yield _counter("process_exits", "Ends of the pipeline process by itself.", [], [([], self._exits)])
        yield _counter("process_restarts", "Restarts of the pipeline process.", [], [([], self._restarts)])
        yield _counter("pipeline_errors", "Exceptions in the serving pipeline.", [], [([], self._errors)])
        yield _counter("streams", "Streams that were started.", [], [([], self._streams)])
        failed = "Streams that did not end well, by what was at fault."
        yield _counter("streams_failed", failed, ["kind"], _rows(self._failures))

    def _histograms(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import HistogramMetricFamily

        stages = HistogramMetricFamily(
            f"{_PREFIX}stage_seconds", "How long an output frame took, by stage.", labels=["stage"]
        )
        for (stage, _, _), (_, _, histogram) in zip(_STAGES, self._stages, strict=True):
            stages.add_metric([stage], histogram.buckets(), histogram.sum_s)
        yield stages
        total = "How long an output frame took from the source to the sink."
        yield HistogramMetricFamily(
            f"{_PREFIX}latency_seconds", total, buckets=self._total.buckets(), sum_value=self._total.sum_s
        )


def _grow(totals: Counter[str], before: dict[str, int], now: dict[str, int]) -> None:
    """Add to `totals` what has come on since `before`; a count that has gone back has begun anew."""
    for name, count in now.items():
        last = before.get(name, 0)
        totals[name] += count - last if count >= last else count
        before[name] = count


def _rows(counts: Counter[str]) -> list[tuple[list[str], int]]:
    return [([name], count) for name, count in counts.items()]


def _counter(name: str, text: str, labels: list[str], rows: list[tuple[list[str], int]]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family

"""RunFigures: what the host's events of one run add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.live.events import (
    Event,
    HostStarted,
    LoadFailed,
    LoadSucceeded,
    LoadSuperseded,
    MetricsTaken,
    ParamsChanged,
    PipelineWarned,
    StreamEnded,
    StreamStarted,
)

from .run_report import RunLoad


@dataclass(slots=True)
class RunFigures:
    """Fed with every event in order; see `run_report` for what the figures mean."""

    host: HostStarted | None = None
    stream: StreamStarted | None = None
    ended: StreamEnded | None = None
    metrics: MetricsTaken = field(default_factory=MetricsTaken)
    served: LoadSucceeded | None = None
    loads: list[RunLoad] = field(default_factory=list)
    params: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    memory_bytes: int = 0
    vram_bytes: int | None = None

    def add(self, event: Event) -> None:
        """Take one event into account."""
        match event:
            case HostStarted():
                self.host = event
            case StreamStarted():
                self.stream = event
            case StreamEnded():
                self.ended = event
            case ParamsChanged():
                self.params = dict(event.params)
            case PipelineWarned():
                self.warnings.append(event.message)
            case MetricsTaken():
                self._add_metrics(event)
            case LoadSucceeded() | LoadFailed() | LoadSuperseded():
                self._add_load(event)

    def _add_metrics(self, event: MetricsTaken) -> None:
        self.memory_bytes = max(self.memory_bytes, event.memory_bytes)
        if event.vram_bytes is not None:
            self.vram_bytes = max(self.vram_bytes or 0, event.vram_bytes)
        self.metrics = event

    def _add_load(self, event: LoadSucceeded | LoadFailed | LoadSuperseded) -> None:
        if isinstance(event, LoadSuperseded):
            self.loads.append(RunLoad(event.revision, "", "superseded", {}, 0.0))
            return
        steps = {step.name: round(step.seconds, 4) for step in event.steps}
        outcome = "serving" if isinstance(event, LoadSucceeded) else "failed"
        self.loads.append(RunLoad(event.revision, event.reason, outcome, steps, round(event.total_s, 4)))
        if isinstance(event, LoadSucceeded):
            self.served = event
            self.params = dict(event.params) or self.params
            self.warnings += [warning for warning in event.warnings if warning not in self.warnings]

    @property
    def latency_ms(self) -> dict[str, float]:
        """Of all frames once the stream has ended, else of the latest seconds."""
        return (self.ended or self.metrics).latency_ms or self.metrics.latency_ms

    @property
    def stages_ms(self) -> dict[str, float]:
        """As `latency_ms`."""
        return (self.ended or self.metrics).stages_ms or self.metrics.stages_ms

    @property
    def frames(self) -> tuple[int, int]:
        """Frames in and out: of the stream's end where it has told, else of the latest metrics."""
        known = self.ended or self.metrics
        return max(known.frames_in, self.metrics.frames_in), max(known.frames_out, self.metrics.frames_out)

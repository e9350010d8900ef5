"""RunFigures: what the host's events of one run add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.live.events import (
    Event,
    HostStarted,
    InputDamaged,
    LoadFailed,
    LoadPlan,
    LoadPlanned,
    LoadStarted,
    LoadSucceeded,
    LoadSuperseded,
    MetricsTaken,
    ParamsChanged,
    PipelineWarned,
    Route,
    StreamEnded,
    StreamStarted,
)
from runner.live.input_damage import InputDamage

from .route import drops, drops_in_all
from .run_load import RunLoad, load_record


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
    damage: InputDamage | None = None
    warnings: list[str] = field(default_factory=list)
    memory_bytes: int = 0
    vram_bytes: int | None = None
    longest_silence_s: float = 0.0
    _started: LoadStarted | None = None
    _plan: LoadPlan | None = None

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
            case InputDamaged(damage=damage):
                self.damage = damage
                self.warnings.append(event.message)
            case MetricsTaken():
                self._add_metrics(event)
            case LoadStarted():
                self._started, self._plan = event, None
            case LoadPlanned():
                self._plan = event.plan
            case LoadSucceeded() | LoadFailed() | LoadSuperseded():
                self._add_load(event)

    def _add_metrics(self, event: MetricsTaken) -> None:
        self.memory_bytes = max(self.memory_bytes, event.memory_bytes)
        self.longest_silence_s = max(self.longest_silence_s, event.silent_s)
        if event.vram_bytes is not None:
            self.vram_bytes = max(self.vram_bytes or 0, event.vram_bytes)
        if self.ended is None:  # after that they are of no stream any more
            self.metrics = event

    def _add_load(self, event: LoadSucceeded | LoadFailed | LoadSuperseded) -> None:
        # New code that was put into the running process may be taken back after it has served.
        self.loads = [load for load in self.loads if load.revision != event.revision]
        known = self._started is not None and self._started.revision == event.revision
        self.loads.append(load_record(event, *((self._started, self._plan) if known else ())))
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
    def dropped(self) -> dict[str, int]:
        """Reason -> frames; what got lost on a route without a trace too, once the stream has ended well."""
        whole = self.ended is not None and not self.ended.error
        return drops_in_all(self.metrics) if whole else drops(self.metrics)

    @property
    def route(self) -> Route | None:
        """The way by trickle, None without one; of the stream's end where it has told."""
        return (self.ended.route if self.ended else None) or self.metrics.route

    @property
    def frames(self) -> tuple[int, int]:
        """Frames in and out: of the stream's end where it has told, else of the latest metrics."""
        known = self.ended or self.metrics
        return max(known.frames_in, self.metrics.frames_in), max(known.frames_out, self.metrics.frames_out)

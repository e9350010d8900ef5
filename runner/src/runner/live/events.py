"""What the host tells whoever listens, as small dataclasses: state, loads, errors, logs, metrics.

Every event is sent as one JSON object with its class name under ``type``; `encode` and `decode` are
the two directions. Past tense: it has happened. Times called ``*_s`` are durations in seconds;
``at`` is seconds since the epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from .input_damage import InputDamage
from .plain_json import readable_json
from .report import ErrorReport


def _now() -> float:
    return time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStarted:
    """The host is up and answers; sent first to every listener."""

    version: str
    python: str
    interpreter: str
    pid: int
    pipeline: str
    pipeline_import: str
    at: float = field(default_factory=_now)
    type: Literal["HostStarted"] = "HostStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """The guardian's state (LOADING, ONLINE, DEGRADED_INPUT, DEGRADED_INFERENCE, ERROR, OFFLINE)."""

    state: str
    previous: str
    at: float = field(default_factory=_now)
    type: Literal["StateChanged"] = "StateChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One timed part of a load; the names are explained in docs/hot-reload.md."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a load is done, and what decided it.

    Attributes:
        level: "code": into the running process, what `initialize` built stays; "process": a fresh process.
        way: "start": there is nothing to replace; "in place": level "code"; "overlap": the old process serves
            until the new one is proven; "hand-over": the old one ends first, since there is no room for two.
        why: why not a cheaper level or way, in words; "" where it was the cheapest.
        memory: what `needed_bytes` and `free_bytes` are of: "RAM" or "GPU"; "" where nothing was measured.
        needed_bytes: what the old process uses, with a margin. free_bytes: what is free beside it.
        standby: where the process comes from: "fork" or "spawn" of a standby, "" for a cold start.
    """

    level: Literal["code", "process"] = "process"
    way: Literal["start", "in place", "overlap", "hand-over"] = "start"
    why: str = ""
    memory: Literal["", "RAM", "GPU"] = ""
    needed_bytes: int = 0
    free_bytes: int = 0
    standby: Literal["", "fork", "spawn"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted:
    """The user's code is being loaded, as revision `revision` (1, 2, ...).

    `restores`: the earlier revision whose code it is, None for what is on disk.
    """

    revision: int
    reason: str
    files: tuple[str, ...] = ()
    serving: int | None = None  # the revision that goes on serving meanwhile
    restores: int | None = None
    at: float = field(default_factory=_now)
    type: Literal["LoadStarted"] = "LoadStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlanned:
    """It is decided how revision `revision` is loaded; told again when that changes (a code reload refused)."""

    revision: int
    plan: LoadPlan
    at: float = field(default_factory=_now)
    type: Literal["LoadPlanned"] = "LoadPlanned"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStepped:
    """A load has entered its next step (named as in `Step`). `pid`: of its process, 0 if not known."""

    revision: int
    step: str
    pid: int = 0
    at: float = field(default_factory=_now)
    type: Literal["LoadStepped"] = "LoadStepped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSucceeded:
    """Revision `revision` serves now.

    Attributes:
        frames_lost: inputs, from the save up to that of the new code's second output, that have no output and would
            have one without the reload; whatever the reason. Where inputs without an output are normal, compared
            with the latest before the save.
        output_gap_s: longest interval between two outputs in that time; None where no stream was running.
        memory_before_bytes, memory_after_bytes: resident memory of the pipeline process before (0 if there
            was none) and after; vram_*: its GPU memory, None without a GPU.
        sources: source file (absolute path) -> digest of what was loaded, by which a snapshot store finds it.
        restores: see `LoadStarted`.
        forced: code was put into the process without proof that it takes effect, by this load or one before it.
    """

    revision: int
    reason: str
    files: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    total_s: float = 0.0
    forced: bool = False
    frames_lost: int = 0
    output_gap_s: float | None = None
    plan: LoadPlan = field(default_factory=LoadPlan)
    memory_before_bytes: int = 0
    memory_after_bytes: int = 0
    vram_before_bytes: int | None = None
    vram_after_bytes: int | None = None
    sources: dict[str, str] = field(default_factory=dict)
    restores: int | None = None
    pid: int = 0
    device: str = "cpu"
    params: dict[str, Any] = field(default_factory=dict)
    params_schema: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    at: float = field(default_factory=_now)
    type: Literal["LoadSucceeded"] = "LoadSucceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed:
    """Revision `revision` did not come up; revision `serving` (if any) goes on."""

    revision: int
    reason: str
    report: ErrorReport
    files: tuple[str, ...] = ()
    serving: int | None = None
    steps: tuple[Step, ...] = ()
    total_s: float = 0.0
    plan: LoadPlan = field(default_factory=LoadPlan)
    restores: int | None = None
    at: float = field(default_factory=_now)
    type: Literal["LoadFailed"] = "LoadFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSuperseded:
    """A newer save came before revision `revision` was up; it was given up."""

    revision: int
    at: float = field(default_factory=_now)
    type: Literal["LoadSuperseded"] = "LoadSuperseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyChanged:
    """The process that waits for the next reload, with the third-party imports done.

    Attributes:
        state: "off" (switched off), "warming" (it imports), "ready", "dropped" (`reason` says why).
        kind: "fork": it forks one process per reload; "spawn": it is used up by a reload; "" if not known yet.
        memory_bytes: its resident memory. modules: how many third-party modules it has imported.
    """

    state: Literal["off", "warming", "ready", "dropped"]
    kind: Literal["", "fork", "spawn"] = ""
    memory_bytes: int = 0
    modules: int = 0
    reason: str = ""
    at: float = field(default_factory=_now)
    type: Literal["StandbyChanged"] = "StandbyChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOptionsChanged:
    """How reloads are done from now on: see `ReloadOptions`."""

    keep_weights: bool
    standby: bool
    at: float = field(default_factory=_now)
    type: Literal["ReloadOptionsChanged"] = "ReloadOptionsChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesChanged:
    """The user's source files that the serving (or just failed) process has imported; absolute paths."""

    files: tuple[str, ...]
    at: float = field(default_factory=_now)
    type: Literal["SourcesChanged"] = "SourcesChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFailed:
    """An exception in the serving pipeline (in the frame loop, an update); it goes on serving.

    `count` is how many of this same error there were since the last such event.
    """

    revision: int
    report: ErrorReport
    count: int = 1
    at: float = field(default_factory=_now)
    type: Literal["PipelineFailed"] = "PipelineFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineWarned:
    """Something the author should know: output outside [0, 1], a slow update, a params field dropped."""

    revision: int
    message: str
    at: float = field(default_factory=_now)
    type: Literal["PipelineWarned"] = "PipelineWarned"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExited:
    """The serving process ended by itself. `reason` names signal or exit code; `restarting` says what follows.

    `report`: with the place in the user's code if that is known, after a crash in native code say.
    """

    revision: int
    pid: int
    reason: str
    logs: tuple[str, ...] = ()
    restarting: bool = False
    report: ErrorReport | None = None
    at: float = field(default_factory=_now)
    type: Literal["ProcessExited"] = "ProcessExited"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWritten:
    """One line of the pipeline process: a log record, or its stdout or stderr.

    `report_error`: it was logged with ``extra={"report_error": True}``: whoever watches the stream is told.
    """

    level: str  # DEBUG, INFO, WARNING, ERROR, CRITICAL
    source: str  # the logger's name, "stdout" or "stderr"
    message: str
    revision: int = 0
    report_error: bool = False
    at: float = field(default_factory=_now)
    type: Literal["LogWritten"] = "LogWritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsChanged:
    """The pipeline has taken these params (all of them, validated). `params_schema`: JSON schema, {} if as before."""

    params: dict[str, Any]
    params_schema: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=_now)
    type: Literal["ParamsChanged"] = "ParamsChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStarted:
    """A stream runs. Sizes in pixels: of the source, and of what the pipeline gets."""

    source: str
    source_width: int
    source_height: int
    width: int
    height: int
    fps: float | None = None
    duration_s: float | None = None
    frames: int | None = None
    audio: bool = False
    live: bool = False
    sink: str | None = None
    at: float = field(default_factory=_now)
    type: Literal["StreamStarted"] = "StreamStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of a stream by two trickle channels, there and back.

    Attributes:
        hops_ms: hop -> median ms: encode, relay and decode, the runner, and the same back; "total": all of them.
        total_ms: percentile ("p50", "p95") -> ms from source to what has come back.
        sent, returned: pictures of this stream.
        dropped: reason -> pictures that were lost on the way there or back, outside of the runner.
    """

    hops_ms: dict[str, float] = field(default_factory=dict)
    total_ms: dict[str, float] = field(default_factory=dict)
    sent: int = 0
    returned: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnded:
    """The stream is over: by itself (`error` empty) or with a message in user terms.

    `latency_ms` and `stages_ms` are those of `MetricsTaken`, over all frames of the stream.
    """

    error: str = ""
    error_kind: Literal["", "source", "sink", "pipeline"] = ""
    frames_in: int = 0
    frames_out: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    route: Route | None = None
    at: float = field(default_factory=_now)
    type: Literal["StreamEnded"] = "StreamEnded"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDamaged:
    """Part of the input could not be read: after its first whole pass, else when the stream has ended."""

    damage: InputDamage
    at: float = field(default_factory=_now)
    type: Literal["InputDamaged"] = "InputDamaged"

    @property
    def message(self) -> str:
        """A sentence for people."""
        return f"the input is damaged or cut off: {self.damage}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TapOpened:
    """A `FrameRing` to read newest pictures from: before ("input") or after ("output") the pipeline."""

    side: Literal["input", "output"]
    ring: str
    type: Literal["TapOpened"] = "TapOpened"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsTaken:
    """Figures of the latest seconds and totals of the stream; sent twice a second.

    Attributes:
        fps_in, fps_out: frames per second handed to, and given back by, the pipeline.
        latency_ms: percentile ("p50", "p95", "p99") -> ms from source to sink, in a lossless stream from the pipeline's
            input to its output; empty without output.
        stages_ms: stage -> median ms: queue in, hand over, upload, pipeline, download, queue out, deliver.
        frames_in, frames_out, frames_reloading: totals of the stream.
        dropped: reason -> total of the stream.
        memory_bytes: resident memory of the pipeline process. vram_bytes: its GPU memory, None without a GPU.
        cpu_percent: of the pipeline process; 100 is one core.
        position_s: presentation time reached. loading_s: for how long a load has been under way, else None.
        decoder, encoder: what does the work in a stream of the network, e.g. ``h264`` and ``libx264``.
        max_fps: pictures per second that such a stream lets in, None for all.
        silent_s: seconds since the newest frame of a camera or another source that is paced from outside; 0 while
            frames come.
        route: see `Route`; None without one.
    """

    fps_in: float = 0.0
    fps_out: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    frames_in: int = 0
    frames_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    memory_bytes: int = 0
    vram_bytes: int | None = None
    vram_total_bytes: int | None = None
    cpu_percent: float = 0.0
    position_s: float = 0.0
    loading_s: float | None = None
    decoder: str = ""
    encoder: str = ""
    max_fps: float | None = None
    silent_s: float = 0.0
    route: Route | None = None
    at: float = field(default_factory=_now)
    type: Literal["MetricsTaken"] = "MetricsTaken"


Event = Union[  # noqa: UP007  # read by pydantic at run time
    HostStarted,
    StateChanged,
    LoadStarted,
    LoadPlanned,
    LoadStepped,
    LoadSucceeded,
    LoadFailed,
    LoadSuperseded,
    StandbyChanged,
    ReloadOptionsChanged,
    SourcesChanged,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    LogWritten,
    ParamsChanged,
    StreamStarted,
    StreamEnded,
    InputDamaged,
    TapOpened,
    MetricsTaken,
]


def encode(event: Event) -> str:
    """Return the event as one line of JSON in ASCII, which `decode` reads; never fails.

    NaN and infinity become text, such as ``"NaN"``: `decode` makes floats of it in fields that are floats, and params
    classes do the same when the params are sent back.
    """
    return readable_json(event)


def decode(line: str | bytes) -> Event:
    """The event that a line of JSON holds.

    Raises:
        pydantic.ValidationError: it is not an event of this version.
    """
    event: Event = _adapter().validate_json(line)
    return event


def prepare_decoding() -> None:
    """Make what `decode` needs, a tenth of a second of imports, while there is nothing else to do."""
    _adapter()


_cached_adapter: Any = None


def _adapter() -> Any:
    global _cached_adapter
    if _cached_adapter is None:
        from typing import Annotated

        from pydantic import Field, TypeAdapter

        _cached_adapter = TypeAdapter(Annotated[Event, Field(discriminator="type")])
    return _cached_adapter

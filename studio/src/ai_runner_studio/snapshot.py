"""Snapshot: everything a face of the studio shows, frozen at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from runner.live.events import HostStarted, LogWritten, MetricsTaken, Step, StreamEnded, StreamStarted
from runner.live.report import ErrorReport

LoadOutcome = Literal["loading", "serving", "replaced", "failed", "superseded"]


@dataclass(frozen=True, slots=True)
class Load:
    """One attempt to load the pipeline: the first one, or a reload.

    Attributes:
        revision: 1, 2, ...; `reason`: why; `files`: which saved files made it happen (absolute paths).
        step: the step under way while `outcome` is "loading".
        steps: finished steps with their times; total_s: from the save (or the start) to the end of the load.
    """

    revision: int
    reason: str
    started_at: float
    files: tuple[str, ...] = ()
    outcome: LoadOutcome = "loading"
    step: str = ""
    steps: tuple[Step, ...] = ()
    total_s: float = 0.0
    frames_lost: int = 0
    report: ErrorReport | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a face shows, at one moment.

    Attributes:
        phase: "starting" until the host answers, "running", "ended" when the session is over.
        state: the guardian's state, e.g. ``ONLINE``; "" before the host answers.
        serving: revision whose code makes the pictures, None while there is none.
        load: the latest attempt to load. loads: all of them, oldest first (the latest 200).
        error: what is wrong now and not mended yet: of the latest load, or of the frame loop; else None.
        error_count: how often the frame-loop error came since it first did.
        params: current, validated. params_schema: JSON schema (pydantic) of the params class, {} if unknown.
        logs: the latest 2,000 lines. notices: short remarks for the user (watcher, dropped params), newest last.
        watching: how many files a save of which reloads.
        interpreter: path of the project's Python; interpreter_reason: why that one.
    """

    phase: Literal["starting", "running", "ended"] = "starting"
    host: HostStarted | None = None
    state: str = ""
    serving: int | None = None
    device: str = ""
    pipeline_pid: int = 0
    load: Load | None = None
    loads: tuple[Load, ...] = ()
    error: ErrorReport | None = None
    error_count: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    params_schema: dict[str, Any] = field(default_factory=dict)
    stream: StreamStarted | None = None
    ended: StreamEnded | None = None
    metrics: MetricsTaken = field(default_factory=MetricsTaken)
    logs: tuple[LogWritten, ...] = ()
    notices: tuple[str, ...] = ()
    watching: int = 0
    interpreter: str = ""
    interpreter_reason: str = ""

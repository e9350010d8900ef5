"""Snapshot: everything a face of the studio shows, frozen at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.live.events import (
    HostStarted,
    LoadPlan,
    LogWritten,
    MetricsTaken,
    StandbyChanged,
    Step,
    StreamEnded,
    StreamStarted,
)
from runner.live.report import ErrorReport

from .settings import RouteName

LoadOutcome = Literal["loading", "serving", "replaced", "failed", "superseded"]


@dataclass(frozen=True, slots=True)
class Load:
    """One attempt to load the pipeline: the first one, or a reload.

    Attributes:
        revision: 1, 2, ...; `reason`: why; `files`: which saved files made it happen (absolute paths).
        step: the step under way while `outcome` is "loading".
        steps: finished steps with their times; total_s: from the save (or the start) to the end of the load.
        forced: code was put into its process without proof that it takes effect.
        frames_lost, output_gap_s: see `LoadSucceeded`.
        plan: how it is, or was, done, and why so.
        restores: the earlier revision whose code it is; None for what was on disk.
        memory_before_bytes, memory_after_bytes: resident memory of the pipeline process, 0 where not known;
            vram_*: its GPU memory, None without a GPU.
        sources: source file (absolute path) -> digest of what was loaded; empty unless the revision was good
            and its code is still kept.
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
    forced: bool = False
    output_gap_s: float | None = None
    report: ErrorReport | None = None
    plan: LoadPlan = field(default_factory=LoadPlan)
    restores: int | None = None
    memory_before_bytes: int = 0
    memory_after_bytes: int = 0
    vram_before_bytes: int | None = None
    vram_after_bytes: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def can_return(self) -> bool:
        """Whether its code is kept, so that it can be loaded again and compared."""
        return bool(self.sources)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a face shows, at one moment.

    Attributes:
        phase: "starting" until the host answers, "running", "ended" when the session is over.
        state: the guardian's state, e.g. ``ONLINE``; "" before the host answers.
        serving: revision that serves, None while there is none.
        load: the latest attempt to load. loads: all of them, oldest first (the latest 200).
        error: what is wrong now and not mended yet: of the latest load, or of the frame loop; else None.
        error_count: how often the frame-loop error came since it first did.
        params: current, validated. params_schema: JSON schema (pydantic) of the params class, {} if unknown.
        logs: the latest 2,000 lines. notices: short remarks for the user (watcher, dropped params), newest last.
        route: the way that frames are asked to take; the figures of it are in `metrics` and `ended`.
        watching: how many files a save of which reloads.
        standby: what was last told of the process that waits for the next reload, None before anything was.
        keep_weights, standby_on: whether reloads are to put code into the running process, and whether a
            standby is to be kept: what is asked for, not what is there.
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
    route: RouteName = "direct"
    watching: int = 0
    standby: StandbyChanged | None = None
    keep_weights: bool = True
    standby_on: bool = True
    interpreter: str = ""
    interpreter_reason: str = ""

    @property
    def making(self) -> int | None:
        """Revision whose code makes the frames: `serving`, or one that is tried in its process."""
        load = self.load
        if load is None or load.outcome != "loading" or load.plan.level != "code" or load.step != "first frame":
            return self.serving
        return load.revision if self.serving is not None else None

    @property
    def on_disk(self) -> bool:
        """Whether `making` has the code that is on disk, as far as loads tell: a save is loaded at once."""
        making = self.making
        return making is not None and self._origin(making) == self._newest_from_disk()

    def _origin(self, revision: int) -> int:
        """The revision that was loaded from disk with the same code."""
        restored = {load.revision: load.restores for load in self.loads}
        while (earlier := restored.get(revision)) is not None:
            revision = earlier
        return revision

    def _newest_from_disk(self) -> int | None:
        found = (load for load in reversed(self.loads) if load.restores is None and load.outcome != "superseded")
        return next((load.revision for load in found), None)

"""RunLoad: one load of the pipeline, as reports and benchmarks write it down."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runner.live.events import LoadFailed, LoadPlan, LoadStarted, LoadSucceeded, LoadSuperseded


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLoad:
    """One load; its fields are explained at the top of `run_report`."""

    revision: int
    reason: str
    outcome: str
    steps: dict[str, float]
    total_s: float
    files: tuple[str, ...] = ()
    level: str = ""
    way: str = ""
    why: str = ""
    standby: str = ""
    memory_before_bytes: int = 0
    memory_after_bytes: int = 0
    vram_before_bytes: int | None = None
    vram_after_bytes: int | None = None
    frames_lost: int = 0
    forced: bool = False
    output_gap_s: float | None = None
    restores: int | None = None


def load_record(
    event: LoadSucceeded | LoadFailed | LoadSuperseded,
    started: LoadStarted | None = None,
    plan: LoadPlan | None = None,
) -> RunLoad:
    """The end of a load as a record.

    Args:
        started, plan: how that load began and was planned; `LoadSuperseded` alone does not say.
    """
    if isinstance(event, LoadSuperseded):
        record = RunLoad(revision=event.revision, reason="", outcome="superseded", steps={}, total_s=0.0)
        if started is not None:
            took_s = round(event.at - started.at, 4)
            files, restores = started.files, started.restores
            record = replace(record, reason=started.reason, total_s=took_s, files=files, restores=restores)
        return _planned(record, plan) if plan is not None else record
    record = RunLoad(
        revision=event.revision,
        reason=event.reason,
        outcome="failed",
        steps={step.name: round(step.seconds, 4) for step in event.steps},
        total_s=round(event.total_s, 4),
        files=event.files,
        restores=event.restores,
    )
    record = _planned(record, event.plan)
    return record if isinstance(event, LoadFailed) else _succeeded(record, event)


def _planned(record: RunLoad, plan: LoadPlan) -> RunLoad:
    return replace(record, level=plan.level, way=plan.way, why=plan.why, standby=plan.standby)


def _succeeded(record: RunLoad, event: LoadSucceeded) -> RunLoad:
    return replace(
        record,
        outcome="serving",
        memory_before_bytes=event.memory_before_bytes,
        memory_after_bytes=event.memory_after_bytes,
        vram_before_bytes=event.vram_before_bytes,
        vram_after_bytes=event.vram_after_bytes,
        frames_lost=event.frames_lost,
        forced=event.forced,
        output_gap_s=round(event.output_gap_s, 4) if event.output_gap_s is not None else None,
    )

"""History: folds the host's events into what a snapshot shows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from runner.live.events import (
    Event,
    HostStarted,
    InputDamaged,
    LoadFailed,
    LoadPlanned,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    LoadSuperseded,
    LogWritten,
    MetricsTaken,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    ReloadOptionsChanged,
    StandbyChanged,
    StateChanged,
    Step,
    StreamEnded,
    StreamStarted,
)
from runner.live.process.policy import REVISIONS_KEPT
from runner.live.report import ErrorReport

from .snapshot import Load, Snapshot

LOGS_KEPT = 2000
LOADS_KEPT = 200
NOTICES_KEPT = 20
MENDED_AFTER_S = 5.0  # without the frame-loop error coming again
MENDED_AFTER_RESTART_S = 60.0  # of the same code, without its process being ended by it again
_ENDED = ("ProcessExited", "PipelineHung")  # errors with which a process ends

_LoadEvent = LoadStarted | LoadPlanned | LoadStepped | LoadSucceeded | LoadFailed | LoadSuperseded


class History:
    """What has happened in one session so far."""

    def __init__(self, code_kept: bool = True) -> None:
        """`code_kept`: whether the host keeps the code of good revisions."""
        self._code_kept = code_kept
        self._now = Snapshot()
        self._loads: dict[int, Load] = {}
        self._logs: deque[LogWritten] = deque(maxlen=LOGS_KEPT)
        self._notices: deque[str] = deque(maxlen=NOTICES_KEPT)
        self._frame_error_at = float("-inf")
        self._served_since = 0.0
        self._drop_told = False

    def snapshot(self, watching: int) -> Snapshot:
        """The newest picture. `watching`: how many files a save of which reloads."""
        loads = tuple(self._loads.values())
        self._now = replace(
            self._now,
            load=loads[-1] if loads else None,
            loads=loads,
            logs=tuple(self._logs),
            notices=tuple(self._notices),
            watching=watching,
        )
        return self._now

    def update(self, **fields: Any) -> None:
        """Set fields of the snapshot."""
        self._now = replace(self._now, **fields)

    def notice(self, sentence: str) -> None:
        """A short remark for the user."""
        self._notices.append(sentence)

    def restarted(self) -> None:
        """A new host is being started; its revisions count from 1 again."""
        self._loads.clear()
        self._drop_told = False
        self.update(phase="starting", host=None, serving=None, load=None, error=None, error_count=0, ended=None)
        self.update(standby=None)

    def host_died(self, message: str) -> None:
        """There is no host any more, and nobody asked it to end; `message` says why."""
        hint = "Reload starts it again; the log has its last lines."
        report = ErrorReport("process", "HostExited", message, hint)
        self._serve(None)
        self.update(phase="ended", state="", pipeline_pid=0, error=report)

    def add(self, event: Event) -> None:
        """Take an event in."""
        if (line := _failure_line(event, self._now.error)) is not None:
            self._logs.append(line)
        match event:
            case HostStarted():
                self.update(phase="running", host=event)
            case StateChanged(state=state):
                self.update(state=state)
            case LoadStarted() | LoadPlanned() | LoadStepped() | LoadSucceeded() | LoadFailed() | LoadSuperseded():
                self._add_load(event)
            case StandbyChanged():
                self._add_standby(event)
            case ReloadOptionsChanged(keep_weights=keep_weights, standby=standby):
                self.update(keep_weights=keep_weights, standby_on=standby)
            case PipelineFailed(report=report, count=count):
                self._frame_error_at = event.at
                self.update(error=report, error_count=count)
            case PipelineWarned(message=message) | InputDamaged(message=message):
                self.notice(message)
            case ProcessExited():
                self._add_exit(event)
            case LogWritten():
                self._logs.append(event)
            case ParamsChanged(params=params, params_schema=schema):
                self.update(params=params, params_schema=schema or self._now.params_schema)
            case StreamStarted():
                self.update(stream=event, ended=None)
            case StreamEnded():
                self.update(ended=event)
            case MetricsTaken():
                self.update(metrics=event)
                self._mend(event)

    def _add_load(self, event: _LoadEvent) -> None:
        number = event.revision
        if isinstance(event, LoadStarted):
            self._loads[number] = Load(number, event.reason, event.at, event.files, restores=event.restores)
            self._step_at = event.at
            self.update(serving=event.serving)
            while len(self._loads) > LOADS_KEPT:
                del self._loads[min(self._loads)]
            return
        load = self._loads.get(number) or Load(number, "", event.at)
        match event:
            case LoadPlanned(plan=plan):
                load = replace(load, plan=plan)
            case LoadStepped(step=step):
                load = self._stepped(load, event)
                if step == "stop old" and load.plan.way == "hand-over":
                    self._serve(None)  # there is nothing between the old process and the new one
            case LoadSuperseded():
                load = replace(load, outcome="superseded")
            case LoadFailed():
                load = self._failed(load, event)
            case LoadSucceeded():
                load = self._succeeded(load, event)
        self._loads[number] = load
        if load.can_return:
            self._let_go()

    def _stepped(self, load: Load, event: LoadStepped) -> Load:
        """The step before has ended; its time is the host's own once the load is over."""
        ended = (Step(name=load.step, seconds=event.at - self._step_at),) if load.step else ()
        self._step_at = event.at
        return replace(load, step=event.step, steps=(*load.steps, *ended))

    def _failed(self, load: Load, event: LoadFailed) -> Load:
        """Also of a revision that has served: an exception in its first frames takes new code back."""
        self._serve(event.serving)
        self._frame_error_at = float("-inf")
        self.update(error=event.report, error_count=0)
        return replace(
            load,
            reason=event.reason,
            files=event.files,
            outcome="failed",
            steps=event.steps,
            total_s=event.total_s,
            report=event.report,
            plan=event.plan,
            restores=event.restores,
            sources={},
        )

    def _succeeded(self, load: Load, event: LoadSucceeded) -> Load:
        self._serve(event.revision)
        self.update(device=event.device, pipeline_pid=event.pid)
        self.update(params=event.params, params_schema=event.params_schema)
        self._served_since = event.at
        if self._now.error is not None and self._frame_error_at < load.started_at and not self._is_of_disk(event):
            self.update(error=None, error_count=0)
        return replace(
            load,
            reason=event.reason,
            files=event.files,
            outcome="serving",
            steps=event.steps,
            total_s=event.total_s,
            frames_lost=event.frames_lost,
            forced=event.forced,
            output_gap_s=event.output_gap_s,
            plan=event.plan,
            restores=event.restores,
            memory_before_bytes=event.memory_before_bytes,
            memory_after_bytes=event.memory_after_bytes,
            vram_before_bytes=event.vram_before_bytes,
            vram_after_bytes=event.vram_after_bytes,
            sources=event.sources if self._code_kept else {},
        )

    def _is_of_disk(self, event: LoadSucceeded) -> bool:
        """Whether the error is that of code on disk, which a revision that was gone back to does not mend.

        Nor does a restart after the end of the process: the same will happen again.
        """
        error = self._now.error
        of_load = any(load.report is error for load in self._loads.values())
        return event.restores is not None and error is not None and (of_load or error.kind in _ENDED)

    def _serve(self, serving: int | None) -> None:
        """This revision serves, and no other."""
        for load in list(self._loads.values()):
            if load.outcome == "serving" and load.revision != serving:
                self._loads[load.revision] = replace(load, outcome="replaced")
            elif load.outcome == "replaced" and load.revision == serving:
                self._loads[load.revision] = replace(load, outcome="serving")
        self.update(serving=serving)

    def _let_go(self) -> None:
        """The host keeps the code of the latest good revisions only."""
        good = sorted(load.revision for load in self._loads.values() if load.can_return)
        for revision in good[:-REVISIONS_KEPT]:
            self._loads[revision] = replace(self._loads[revision], sources={})

    def _add_standby(self, event: StandbyChanged) -> None:
        if event.state == "dropped" and not self._drop_told:
            self.notice(f"the standby was dropped: {event.reason}")
        if event.state != "warming":  # one that is tried and dropped again and again is told of once
            self._drop_told = event.state == "dropped"
        self.update(standby=event)

    def _add_exit(self, event: ProcessExited) -> None:
        hint = "It is being started again." if event.restarting else "It is not started again; save a file to try."
        message = f"the pipeline process {event.reason}"
        report = event.report or ErrorReport("process", "ProcessExited", message, traceback="\n".join(event.logs))
        before = self._now.error
        if before is not None and before.kind == "PipelineHung":
            report = before  # says why the process was killed, and where it was
        if event.restarting:  # which may take no longer than a glance, and then nothing on the screen tells of it
            self.notice(f"the pipeline process {event.reason}; it is started again")
        self._serve(None)
        self.update(error=replace(report, hint=hint), error_count=0, pipeline_pid=0)

    def _mend(self, metrics: MetricsTaken) -> None:
        """An error of the frame loop that has not come again for a while, while frames do, is mended."""
        error = self._now.error
        if error is not None and error.kind in _ENDED and self._now.on_disk and metrics.fps_out > 0:
            if metrics.at - self._served_since > MENDED_AFTER_RESTART_S:
                self.update(error=None, error_count=0)
            return
        if error is None or error.phase != "frame" or self._frame_error_at == float("-inf"):
            return
        if metrics.at - self._frame_error_at > MENDED_AFTER_S and metrics.fps_out > 0:
            self.update(error=None, error_count=0)


def _failure_line(event: Event, known: ErrorReport | None) -> LogWritten | None:
    """Return the log line of a failure, once while it is repeated; what a process wrote last is in the log already."""
    match event:
        case ProcessExited():
            return LogWritten(
                level="ERROR", source="runner", message=f"the pipeline process {event.reason}", at=event.at
            )
        case LoadFailed() | PipelineFailed() if event.report != known:
            report = event.report
            text = report.traceback.rstrip() or report.headline
            return LogWritten(level="ERROR", source="runner", message=text, revision=event.revision, at=event.at)
        case InputDamaged():
            return LogWritten(level="WARNING", source="runner", message=event.message, at=event.at)
    return None

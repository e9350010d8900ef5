"""History: folds the host's events into what a snapshot shows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from runner.live.events import (
    Event,
    HostStarted,
    LoadFailed,
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
    StateChanged,
    StreamEnded,
    StreamStarted,
)
from runner.live.report import ErrorReport

from .snapshot import Load, Snapshot

LOGS_KEPT = 2000
LOADS_KEPT = 200
NOTICES_KEPT = 20
MENDED_AFTER_S = 5.0  # without the frame-loop error coming again


class History:
    """What has happened in one session so far."""

    def __init__(self) -> None:
        self._now = Snapshot()
        self._loads: dict[int, Load] = {}
        self._logs: deque[LogWritten] = deque(maxlen=LOGS_KEPT)
        self._notices: deque[str] = deque(maxlen=NOTICES_KEPT)
        self._frame_error_at = float("-inf")

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
        self.update(phase="starting", host=None, serving=None, load=None, error=None, error_count=0, ended=None)

    def host_died(self, reason: str) -> None:
        """The host is gone, and nobody asked it to end."""
        hint = "Reload starts it again; the log has its last lines."
        report = ErrorReport("process", "HostExited", f"the runner host {reason}", hint)
        self.update(phase="ended", state="", serving=None, pipeline_pid=0, error=report)

    def add(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case HostStarted():
                self.update(phase="running", host=event)
            case StateChanged(state=state):
                self.update(state=state)
            case LoadStarted() | LoadStepped() | LoadSucceeded() | LoadFailed() | LoadSuperseded():
                self._add_load(event)
            case PipelineFailed(report=report, count=count):
                self._frame_error_at = event.at
                self.update(error=report, error_count=count)
            case PipelineWarned(message=message):
                self.notice(message)
            case ProcessExited():
                self._add_exit(event)
            case LogWritten():
                self._logs.append(event)
            case ParamsChanged(params=params):
                self.update(params=params)
            case StreamStarted():
                self.update(stream=event, ended=None)
            case StreamEnded():
                self.update(ended=event)
            case MetricsTaken():
                self.update(metrics=event)
                self._mend(event)

    def _add_load(self, event: LoadStarted | LoadStepped | LoadSucceeded | LoadFailed | LoadSuperseded) -> None:
        number = event.revision
        if isinstance(event, LoadStarted):
            self._loads[number] = Load(number, event.reason, event.at, event.files)
            self.update(serving=event.serving)
            while len(self._loads) > LOADS_KEPT:
                del self._loads[min(self._loads)]
            return
        load = self._loads.get(number) or Load(number, "", event.at)
        match event:
            case LoadStepped(step=step):
                load = replace(load, step=step)
            case LoadSuperseded():
                load = replace(load, outcome="superseded")
            case LoadFailed(report=report):
                load = replace(load, outcome="failed", steps=event.steps, total_s=event.total_s, report=report)
                load = replace(load, reason=event.reason, files=event.files)
                self._frame_error_at = float("-inf")
                self.update(error=report, error_count=0, serving=event.serving)
            case LoadSucceeded():
                load = self._succeeded(load, event)
        self._loads[number] = load

    def _succeeded(self, load: Load, event: LoadSucceeded) -> Load:
        for other in self._loads.values():
            if other.outcome == "serving":
                self._loads[other.revision] = replace(other, outcome="replaced")
        self.update(serving=event.revision, device=event.device, pipeline_pid=event.pid)
        self.update(params=event.params, params_schema=event.params_schema)
        if self._now.error is not None and self._frame_error_at < load.started_at:
            self.update(error=None, error_count=0)
        return replace(
            load,
            reason=event.reason,
            files=event.files,
            outcome="serving",
            steps=event.steps,
            total_s=event.total_s,
            frames_lost=event.frames_lost,
        )

    def _add_exit(self, event: ProcessExited) -> None:
        report = ErrorReport(
            "process",
            "ProcessExited",
            f"the pipeline process {event.reason}",
            hint="It is being started again." if event.restarting else "It is not started again; save a file to try.",
            traceback="\n".join(event.logs),
        )
        for load in self._loads.values():
            if load.outcome == "serving":
                self._loads[load.revision] = replace(load, outcome="replaced")
        self.update(error=report, error_count=0, serving=None, pipeline_pid=0)

    def _mend(self, metrics: MetricsTaken) -> None:
        """An error of the frame loop that has not come again for a while, while frames do, is mended."""
        error = self._now.error
        if error is None or error.phase != "frame" or self._frame_error_at == float("-inf"):
            return
        if metrics.at - self._frame_error_at > MENDED_AFTER_S and metrics.fps_out > 0:
            self.update(error=None, error_count=0)

"""HeadlessRun: a face of `Session` without a screen. It runs one stream to its end and reports.

Where the screen waits for the developer to mend what is broken, this gives up: the first load that fails,
the first exception in the frame loop and the first exit of the pipeline process end the run.
"""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.live.events import (
    Event,
    InputDamaged,
    LoadFailed,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    StreamEnded,
    StreamStarted,
)
from runner.live.process.debugging import ANNOUNCED
from runner.live.running import is_running

from .errors import StudioError, UsageError
from .run_figures import RunFigures
from .run_report import ErrorKind, RunError, RunInput, RunReport, RunRoute
from .settings import Settings
from .sources.silence import no_frame

if TYPE_CHECKING:
    from runner.live.report import ErrorReport

    from .session import Session, Snapshot


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        doing: what is under way, in words.
        frames: delivered so far; total: how many are expected, None where that is not known.
        note: in place of all that, something to be read.
        fps: of the last second. latency_ms: its median, None before there is one.
    """

    doing: str
    frames: int = 0
    total: int | None = None
    fps: float = 0.0
    latency_ms: float | None = None
    note: str = ""


class HeadlessRun:
    """One run: `run` once. `figures` holds what is known so far, also when `run` was cancelled."""

    def __init__(self, settings: Settings, progress: Callable[[Progress], None] | None = None) -> None:
        self.settings = settings
        self.figures = RunFigures()
        self._progress = progress or (lambda _progress: None)
        self._output = PartialOutput(Path(settings.output)) if settings.output else None
        self._error: RunError | None = None
        self._failed = asyncio.Event()
        self._host_s = 0.0
        self._stream_began = 0.0
        self._stream_took_s = 0.0

    async def run(self) -> RunReport:
        """Run the stream to its end.

        When this is cancelled or fails, no file is left under the output's name.

        Raises:
            StudioError: it could not be started; what went wrong after that stands in the report.
        """
        from .session import Session

        began = time.monotonic()
        output = None
        if self._output:
            self._output.prepare()
            output = str(self._output.partial)
        session = Session(replace(self.settings, output=output), stream_when_ready=True)
        session.listen(self._hear)
        try:
            self._progress(Progress("starting the runner host"))
            await session.start()
            self._host_s = time.monotonic() - began
            await self._to_the_end(session)
        finally:
            # Only a sink that was closed is whole; what is there while the host still runs may not be.
            await session.close()
            self._settle_output()
        return self.report()

    async def _to_the_end(self, session: Session) -> None:
        ended = asyncio.create_task(session.wait_ended(), name="stream-ended")
        failed = asyncio.create_task(self._failed.wait(), name="run-failed")
        following = asyncio.create_task(self._follow(session), name="run-progress")
        try:
            await asyncio.wait({ended, failed}, return_when=asyncio.FIRST_COMPLETED)
            if self._error is None:
                self._hear(ended.result())
        except StudioError as error:
            self._fail(RunError("host", str(error), error.hint, error.exit_code))
        finally:
            for task in (ended, failed, following):
                task.cancel()
            await asyncio.gather(ended, failed, following, return_exceptions=True)

    async def _follow(self, session: Session) -> None:
        while True:
            self._progress(progress_of(await session.changed(), self.settings))

    def _settle_output(self) -> None:
        if self._output is None:
            return
        done = self.figures.ended is not None and self._error is None
        if not self._output.settle(keep=done) and done:
            self._fail(RunError("sink", "nothing was written: the pipeline gave no frame back"))

    def _hear(self, event: Event) -> None:
        self.figures.add(event)
        match event:
            case StreamStarted():
                self._stream_began = time.monotonic()
            case StreamEnded():
                if self._stream_began and not self._stream_took_s:
                    self._stream_took_s = time.monotonic() - self._stream_began
                if event.error:
                    kind: ErrorKind = event.error_kind or "pipeline"
                    # One that broke off after it was opened was not asked for wrongly.
                    code = _exit_code(kind in ("source", "sink") and self.figures.stream is None)
                    self._fail(RunError(kind, self._in_users_terms(event.error), exit_code=code))
                elif self.settings.strict and self.figures.damage:
                    self._fail(RunError("source", InputDamaged(damage=self.figures.damage).message))
            case PipelineWarned() if event.message.startswith(ANNOUNCED):
                self._progress(Progress("", note=event.message))
            case LoadFailed() if event.serving is None:
                what = f"the pipeline did not load, at '{event.report.phase}'"
                asked_wrongly = event.report.kind == "ParamsError"
                self._fail(of_report(what, event.report, _exit_code(asked_wrongly)))
            case PipelineFailed():
                self._fail(of_report("the pipeline failed", event.report))
            case ProcessExited():
                said = "\n".join(event.logs[-5:])
                message = f"the pipeline process ended: {event.reason}"
                self._fail(RunError("pipeline", message, said and f"the last it said was:\n{said}"))

    def _in_users_terms(self, message: str) -> str:
        return message.replace(str(self._output.partial), str(self._output.path)) if self._output else message

    def _fail(self, error: RunError) -> None:
        """Remember why the run fails; the first reason is the one that counts."""
        if self._error is None:
            self._error = error
            self._failed.set()

    def report(self, error: RunError | None = None) -> RunReport:
        """What the run did so far. `error`: why it ended, if not known from the events."""
        figures = self.figures
        frames_in, frames_out = figures.frames
        error = self._error or error
        return RunReport(
            pipeline=self.settings.pipeline_import,
            input=self._input(),
            error=error,
            damage=figures.damage,
            output=self.settings.output if error is None else None,
            frames_in=frames_in,
            frames_out=frames_out,
            dropped=figures.dropped,
            duration_s=round(self._stream_took_s, 4),
            latency_ms=figures.latency_ms,
            stages_ms=figures.stages_ms,
            route=self._route(),
            startup=self._startup(),
            memory_bytes=figures.memory_bytes,
            vram_bytes=figures.vram_bytes,
            device=figures.served.device if figures.served else "",
            params=dict(figures.params),
            revision=figures.served.revision if figures.served else None,
            warnings=(*self._unknown_params(), *self._silence(), *figures.warnings),
            loads=tuple(figures.loads),
            versions=self._versions(),
        )

    def _route(self) -> RunRoute | None:
        route, metrics = self.figures.route, self.figures.metrics
        if route is None:
            return None
        return RunRoute(
            sent=route.sent,
            returned=route.returned,
            hops_ms=dict(route.hops_ms),
            total_ms=dict(route.total_ms),
            dropped=dict(route.dropped),
            decoder=metrics.decoder,
            encoder=metrics.encoder,
            max_fps=metrics.max_fps,
        )

    def _input(self) -> RunInput:
        stream = self.figures.stream
        if stream is None:
            return RunInput(self.settings.input)
        return RunInput(
            name=self.settings.input,
            source=stream.source,
            width=stream.source_width,
            height=stream.source_height,
            fps=stream.fps,
            frames=stream.frames,
            duration_s=stream.duration_s,
        )

    def _unknown_params(self) -> tuple[str, ...]:
        """A params class passes over names it does not know; a script should hear of its typing mistake."""
        known = self.figures.served.params_schema.get("properties") if self.figures.served else None
        unknown = [name for name in self.settings.params if known and name not in known]
        return tuple(f"the pipeline has no param '{name}'" for name in unknown)

    def _silence(self) -> tuple[str, ...]:
        said = no_frame(self.figures.longest_silence_s)
        return (f"input '{self.settings.input}': {said}",) if said else ()

    def _startup(self) -> dict[str, float]:
        steps = {"host": round(self._host_s, 4)} if self._host_s else {}
        if self.figures.loads:
            first = self.figures.loads[0]
            steps |= first.steps
            steps["total"] = round(self._host_s + first.total_s, 4)
        return steps

    def _versions(self) -> dict[str, str]:
        from . import __version__

        host = self.figures.host
        return {"studio": __version__} | ({"runner": host.version, "python": host.python} if host else {})


def of_report(what: str, report: ErrorReport, exit_code: int = StudioError.exit_code) -> RunError:
    """The failure of a run by an exception in the user's code."""
    return RunError("pipeline", f"{what}: {report.headline}", report.hint, exit_code, report)


def _exit_code(asked_wrongly: bool) -> int:
    return UsageError.exit_code if asked_wrongly else StudioError.exit_code


def progress_of(snapshot: Snapshot, settings: Settings) -> Progress:
    """What a snapshot says about how far the run has come."""
    stream, load, metrics = snapshot.stream, snapshot.load, snapshot.metrics
    if snapshot.serving is None:
        return Progress(f"loading the pipeline: {load.step}" if load and load.step else "loading the pipeline")
    if stream is None:
        return Progress("opening the input")
    route = metrics.route
    if no_frame(metrics.silent_s):
        return Progress(f"waiting for a frame of input '{settings.input}'")
    return Progress(
        "running",
        frames=metrics.frames_out if route is None else route.returned,
        total=expected_frames(settings, stream, metrics.max_fps),
        fps=metrics.fps_out,
        latency_ms=(metrics.latency_ms if route is None else route.total_ms).get("p50"),
    )


def expected_frames(settings: Settings, stream: StreamStarted, max_fps: float | None = None) -> int | None:
    """How many frames the run will have, None where that cannot be told.

    Args:
        max_fps: frames per second that are let in; limits are of the input, before that.
    """
    limits = [settings.frames, None if settings.loop else stream.frames]
    if settings.duration_s is not None and stream.fps:
        limits.append(round(settings.duration_s * stream.fps))
    known = [limit for limit in limits if limit]
    if not known:
        return None
    share = min(1.0, max_fps / stream.fps) if max_fps and stream.fps else 1.0
    return round(min(known) * share)


class PartialOutput:
    """The output file in a folder of its own until it is whole, beside its place so that a rename is enough.

    Whatever a sink leaves behind that was killed in the middle goes away with the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(f".{path.name}.partial-{os.getpid()}")
        self.partial = self.folder / path.name

    def prepare(self) -> None:
        """Make the folder, and clear away those of runs that were killed.

        Raises:
            UsageError: it cannot be made.
        """
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.partial-*"):
            pid = left.name.rpartition("-")[2]
            if pid.isdecimal() and not is_running(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"--output: nothing can be written into {self.path.parent}: {error.strerror}") from error

    def settle(self, keep: bool) -> bool:
        """Give the file its name, or remove it. Whether it has its name now."""
        kept = keep and self.partial.exists()
        if kept:
            self.partial.replace(self.path)
        shutil.rmtree(self.folder, ignore_errors=True)
        return kept

"""ProcessGuardian: keeps one good pipeline process running.

It starts the process, restarts it when it fails, and replaces it while it serves: the replacement
is loaded beside it and shown the same frames; once it has put out a valid one, the switch falls
between two input frames, and the old process ends when it has given back what it had taken. A
replacement that fails is thrown away, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...errors import ProcessError
from ..events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    LoadSuperseded,
    LogWritten,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    SourcesChanged,
    StateChanged,
)
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from . import messages
from .outputs import FrameRate, Outputs
from .policy import RestartPolicy
from .process import LoadError, PipelineProcess, ProcessExit
from .revision import Revision, exit_report
from .state import Facts, PipelineState, compute_state
from .status import PipelineStatus, now_ms, params_hash

TICK_S = 1.0
RETIRE_GRACE_S = 1.0  # for what the old process had taken at a switch
FAILURES_TOLD_S = 0.5  # the same exception, frame after frame, is told at most that often
HUNG_AFTER_S = 15.0  # without a heartbeat, which needs neither the event loop nor user code


class ProcessGuardian:
    """Guards the process of one pipeline.

    Attributes:
        spec: the pipeline.
        policy: how failures are answered.
        state: see `PipelineState`.
        serving: the revision whose outputs are passed on, None while there is none.
        params: the last ones that the pipeline has taken, or the initial ones.
        inputs: rate and count of this stream's video frames.
        outputs: what comes out of the pipeline, whichever process it is in.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        policy: RestartPolicy,
        emit: Callable[[Event], None],
        *,
        verbose: bool = False,
    ) -> None:
        self.spec = spec
        self.policy = policy
        self.state = PipelineState.LOADING
        self.serving: Revision | None = None
        self.params: dict[str, Any] = dict(spec.initial_params)
        self.inputs = FrameRate()
        self.outputs = Outputs()
        self._emit = emit
        self._verbose = verbose
        self._numbers = 0
        self._candidate: Revision | None = None
        self._retiring: Revision | None = None
        self._boundary_s = float("-inf")  # inputs up to here belong to the retiring revision
        self._last_input_s = float("-inf")
        self._dropped: Counter[str] = Counter()  # inputs of this stream that did not reach a pipeline
        self._newest: RawFrame | None = None  # input; what a replacement is shown first
        self._changed = asyncio.Event()  # serving has changed, or a load has failed
        self._request_id: str | None = None
        self._lossless = False
        self._load_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts = self._restarts_in_row = 0
        self._failures: Counter[str] = Counter()
        self._failure_told_at = 0.0
        self._reloading = False
        self._closed = False
        self._started_at = self._load_at = self._stream_at = time.monotonic()
        self._error_at = self._restart_at = float("-inf")
        self._status = PipelineStatus(pipeline=spec.name, start_time=now_ms())
        self.load_error: ErrorReport | None = None

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the pipeline, in the background."""
        self._spawn(self._tick_forever())
        self._begin_load("start", (), strict=True, saved_ago_s=0.0)

    def replace(self, reason: str, files: tuple[str, ...] = (), saved_ago_s: float = 0.0) -> None:
        """Load the code that is on disk now beside the serving process; switch when it is good.

        A replacement under way is given up for this one.

        Args:
            reason, files: told in the events of this load.
            saved_ago_s: how long ago the save was that asks for this; counts into the load's times.
        """
        if self.policy.count_per_revision:
            self._restarts_in_row = 0
        # Params that the pipeline has taken may be unknown to the new code; those it was started with
        # must be right.
        self._begin_load(reason, files, strict=self.serving is None and self._numbers < 2, saved_ago_s=saved_ago_s)

    async def close(self) -> None:
        """End everything. Safe to call twice."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        revisions = [revision for revision in (self._candidate, self._retiring, self.serving) if revision]
        self.serving = self._candidate = self._retiring = None
        await asyncio.gather(*(revision.process.stop() for revision in revisions))
        self.outputs.clear()

    async def wait_serving(self) -> None:
        """Wait until a pipeline serves.

        Raises:
            LoadError: the latest load has failed.
        """
        while self.serving is None:
            if self.load_error is not None:
                raise LoadError(self.load_error)
            self._changed.clear()
            await self._changed.wait()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- loading and replacing -------------------------------------------------------------

    def _begin_load(self, reason: str, files: tuple[str, ...], *, strict: bool, saved_ago_s: float) -> None:
        if self._load_task is not None:
            self._load_task.cancel()
        self._numbers += 1
        revision = Revision(
            self._numbers, self.spec, reason, files, self, saved_ago_s=saved_ago_s, verbose=self._verbose
        )
        self.load_error = None
        previous = self._load_task
        self._load_task = self._spawn(self._load(revision, previous, strict=strict))

    async def _load(self, revision: Revision, previous: asyncio.Task[None] | None, *, strict: bool) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        serving = self.serving.number if self.serving else None
        self._emit(LoadStarted(revision=revision.number, reason=revision.reason, files=revision.files, serving=serving))
        self._candidate = revision
        if self.serving is None:
            self._set_state(PipelineState.LOADING)
        try:
            await revision.load(dict(self.params), strict=strict, timeout_s=self.policy.load_timeout_s)
            await self._hand_over(revision)
        except LoadError as error:
            await self._give_up(revision, error.report)
        except asyncio.CancelledError:
            if self.serving is not revision:
                revision.process.kill()
                self._emit(LoadSuperseded(revision=revision.number))
            raise
        finally:
            if self._candidate is revision:
                self._candidate = None

    async def _give_up(self, revision: Revision, report: ErrorReport) -> None:
        self._candidate = None
        self.load_error = report
        self._note_error(report.headline)
        self._emit(SourcesChanged(files=self._sources(revision)))
        failed = LoadFailed(
            revision=revision.number,
            reason=revision.reason,
            report=report,
            files=revision.files,
            serving=self.serving.number if self.serving else None,
            steps=revision.clock.finish(),
            total_s=revision.clock.elapsed_s,
        )
        self._emit(failed)
        if self.serving is None:
            self._set_state(PipelineState.ERROR)
        self._changed.set()
        await revision.process.stop()

    def _sources(self, revision: Revision) -> tuple[str, ...]:
        """Files to watch: the serving revision's and those of the one that failed."""
        serving = self.serving.process.sources if self.serving else ()
        return tuple(sorted({*serving, *revision.process.sources}))

    async def _hand_over(self, revision: Revision) -> None:
        """Make a loaded revision the serving one; the one before goes on until this one is proven."""
        process = revision.process
        if self._request_id is not None:
            process.open_stream(self._request_id)
        streaming = self._request_id is not None and not self._lossless
        if streaming:
            revision.clock.enter("first frame")
            self._emit(LoadStepped(revision=revision.number, step="first frame"))
            if self._newest is not None and self._request_id is not None:
                process.offer(self._newest, self._request_id)
        if self.serving is not None and streaming:
            await revision.proven(self.policy.first_frame_timeout_s)
        old = self._switch(revision)
        if old is None and streaming:
            await self._first_outputs(revision)
        revision.clock.enter("stop old" if old else "")
        lost = await self._retire(old) if old is not None else 0
        self._emit(self._succeeded(revision, lost))

    async def _first_outputs(self, revision: Revision) -> None:
        """Wait for the first outputs of a revision that had nothing to replace.

        A frame that fails is told as a failure of the serving pipeline, which goes on.

        Raises:
            LoadError: its process died of them.
        """
        try:
            await revision.proven(self.policy.first_frame_timeout_s)
        except LoadError:
            if self.serving is not revision:
                raise

    def _switch(self, revision: Revision) -> Revision | None:
        """Between two input frames: this revision gets all inputs from now on. The one before, if any."""
        old, self.serving = self.serving, revision
        self._candidate = None
        self._boundary_s = self._last_input_s
        self._retiring = old
        if old is not None:
            self._dropped += old.process.dropped
            old.process.dropped.clear()
            old.owed = old.process.frames_sent - old.process.frames_received + old.process.waiting
        self._reloading = False
        self._failures.clear()
        self._load_at = time.monotonic()
        loaded = revision.process.loaded
        assert loaded is not None
        self.params = dict(loaded.params)
        self._set_state(PipelineState.ONLINE if self._request_id else PipelineState.OFFLINE)
        self._emit(SourcesChanged(files=revision.process.sources))
        for warning in revision.warnings:
            self._emit(PipelineWarned(revision=revision.number, message=warning))
        self._changed.set()
        return old

    async def _retire(self, old: Revision) -> int:
        """Wait for what the old process still owes, then end it; how many frames it never gave back."""
        with contextlib.suppress(asyncio.TimeoutError):
            if self._request_id is not None and old.last_output_s < self._boundary_s:
                await asyncio.wait_for(old.retired.wait(), RETIRE_GRACE_S)
        self._retiring = None
        self.outputs.release_held()
        await old.process.stop()
        return max(0, old.owed)

    def _succeeded(self, revision: Revision, lost: int) -> LoadSucceeded:
        loaded = revision.process.loaded
        assert loaded is not None
        return LoadSucceeded(
            revision=revision.number,
            reason=revision.reason,
            files=revision.files,
            steps=revision.clock.finish(),
            total_s=revision.clock.elapsed_s,
            frames_lost=lost,
            pid=revision.process.pid,
            device=loaded.device,
            params=loaded.params,
            params_schema=loaded.schema,
            warnings=tuple(revision.warnings),
        )

    # ---- frames ----------------------------------------------------------------------------

    def open_stream(self, request_id: str, *, lossless: bool = False) -> None:
        """A stream begins: frames of this request follow. Counts begin anew."""
        self._request_id, self._lossless = request_id, lossless
        self._last_input_s = self._boundary_s = float("-inf")
        self._newest = None
        self._stream_at = time.monotonic()
        self.inputs, self._dropped = FrameRate(), Counter()
        self.outputs.begin(lossless=lossless)
        for revision in (self.serving, self._candidate):
            if revision is not None and revision.process.loaded is not None:
                revision.last_output_s = float("-inf")
                revision.process.dropped.clear()
                revision.process.open_stream(request_id)
        if self.serving is not None:
            self._set_state(PipelineState.ONLINE)

    def close_stream(self) -> None:
        """The stream is over: what is still in the pipeline is not wanted."""
        self._request_id, self._lossless = None, False
        self._newest = None
        self.outputs.clear()
        if self.serving is not None:
            self.serving.process.open_stream("")

    def offer(self, frame: RawFrame) -> bool:
        """Give a frame to the pipeline, newest-frame policy. False while none serves (the frame is dropped)."""
        assert self._request_id is not None, "no stream is open"
        self.inputs.tick()
        self._last_input_s = frame.time_s
        self._newest = frame
        for beside in (self._candidate, self._retiring):
            # The replacement has to prove itself; the replaced one may need more frames to give its last ones back.
            if beside is not None and beside.process.loaded is not None:
                beside.process.offer(frame, self._request_id)
        if self.serving is None or self._reloading:
            self._dropped["loading"] += 1
            return False
        self.serving.process.offer(frame, self._request_id)
        return True

    async def send(self, frame: RawFrame) -> None:
        """Give a frame to the pipeline, waiting until it can take it.

        Raises:
            LoadError: there is no pipeline and will be none.
            ProcessError: it ended before it could take the frame.
        """
        assert self._request_id is not None, "no stream is open"
        await self.wait_serving()
        assert self.serving is not None
        await self.serving.process.send(frame, self._request_id)
        self.inputs.tick()
        self._last_input_s = frame.time_s

    async def drain(self, quiet_s: float = 1.0) -> None:
        """No more input: wait until the pipeline has put out what it still had.

        Raises:
            ProcessError: it ended first.
        """
        if self.serving is not None:
            await self.serving.process.drain(quiet_s)

    def on_frame(self, revision: Revision, frame: RawFrame, request_id: str) -> None:
        """An output of any of our processes: pass it on, or not."""
        revision.prove()
        revision.last_output_s = max(revision.last_output_s, frame.time_s)
        if request_id != self._request_id:
            self._dropped["other stream"] += revision is self.serving
            frame.release()
        elif revision is self._retiring:
            self._take_owed(revision, frame)
        elif revision is not self.serving or frame.time_s <= self._boundary_s:
            frame.release()  # the replacement, shown frames that the serving one answers
        elif self._retiring is not None:
            self.outputs.hold(frame)
        else:
            self.outputs.put(frame)

    def _take_owed(self, revision: Revision, frame: RawFrame) -> None:
        """An output of the revision that was replaced: its own inputs still count, later ones do not."""
        if frame.time_s >= self._boundary_s:
            revision.retired.set()
        if frame.time_s > self._boundary_s:
            frame.release()
            return
        revision.owed -= 1
        self.outputs.put(frame)

    # ---- params ----------------------------------------------------------------------------

    async def update_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Apply params (all of them); what the pipeline made of them.

        Raises:
            ParamsError: refused; the old ones stay.
            ProcessError: there is no pipeline to take them, or it does not answer.
        """
        if self.serving is None:
            raise ProcessError("no pipeline is running that could take params")
        applied = await self.serving.process.update_params(params)
        self.params = applied.params
        self._reloading = applied.reloading
        self._load_at = time.monotonic()
        inference = self._status.inference_status
        inference.last_params_update_time = now_ms()
        inference.last_params = applied.params
        inference.last_params_hash = params_hash(applied.params)
        self._emit(ParamsChanged(params=applied.params))
        return applied.params

    # ---- messages and failures -------------------------------------------------------------

    def on_message(self, revision: Revision, message: messages.Message) -> None:
        """Whatever one of our processes tells, but frames."""
        match message:
            case messages.StepEntered(name):
                revision.clock.enter(name)
                self._emit(LoadStepped(revision=revision.number, step=name))
            case messages.LogLine():
                self._log(revision, message)
            case messages.FrameFailed(report):
                self._frame_failed(revision, report)
            case messages.OutputWarned(text):
                revision.warnings.append(text)
                self._emit(PipelineWarned(revision=revision.number, message=text))
            case messages.SourcesSeen(files) if revision is self.serving:
                self._emit(SourcesChanged(files=files))
            case messages.ParamsReloaded():
                self._reloading = False
                self._load_at = time.monotonic()

    def _log(self, revision: Revision, line: messages.LogLine) -> None:
        self._emit(
            LogWritten(level=line.level, source=line.source, message=line.message, revision=revision.number, at=line.at)
        )
        if line.report:  # logged with extra={"report_error": True}
            self._note_error(line.message)

    def _frame_failed(self, revision: Revision, report: ErrorReport) -> None:
        if revision.disprove(report) and revision is not self.serving:
            return  # told as the failure of its load
        self._note_error(report.headline)
        self._dropped["pipeline error"] += report.phase == "frame"
        self._failures[report.headline] += 1
        now = time.monotonic()
        if self._failures[report.headline] == 1 or now - self._failure_told_at >= FAILURES_TOLD_S:
            self._failure_told_at = now
            count = self._failures[report.headline]
            self._emit(PipelineFailed(revision=revision.number, report=report, count=count))

    def _note_error(self, message: str) -> None:
        self._error_at = time.monotonic()
        self._status.inference_status.last_error = message
        self._status.inference_status.last_error_time = now_ms()

    def on_exit(self, revision: Revision, exit: ProcessExit) -> None:
        """One of our processes has ended."""
        if revision is not self.serving or self._closed:
            return
        self.serving = None
        self._dropped += revision.process.dropped
        restarting = self._restarts_in_row < self.policy.max_restarts
        self._emit(
            ProcessExited(
                revision=revision.number,
                pid=revision.process.pid,
                reason=exit.reason,
                logs=exit.logs,
                restarting=restarting,
            )
        )
        self._note_error(f"the pipeline process {exit.reason}")
        self._set_state(PipelineState.ERROR)
        self._status.inference_status.last_restart_logs = list(exit.logs)
        if restarting:
            self._spawn(self._restart(exit.reason))
        else:
            self.load_error = exit_report(exit)
            self._changed.set()

    async def _restart(self, reason: str) -> None:
        """Start the process again, after the policy's pause."""
        await asyncio.sleep(self.policy.backoff_s * 2**self._restarts_in_row)
        if self._load_task is not None and not self._load_task.done():
            # It is the dead one's own, about to end, or that of a replacement, which is as good as a restart.
            await asyncio.wait([self._load_task])
        if self.serving is not None:
            return
        self._restarts += 1
        self._restarts_in_row += 1
        self._restart_at = time.monotonic()
        self._status.inference_status.restart_count = self._restarts
        self._status.inference_status.last_restart_time = now_ms()
        self._begin_load(f"restart: the process {reason}", (), strict=False, saved_ago_s=0.0)

    # ---- state -----------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick()

    def _tick(self) -> None:
        serving = self.serving
        if serving is not None and time.monotonic() - serving.process.heartbeat_at > HUNG_AFTER_S:
            self._kill_hung(serving, f"gives no sign of life for {HUNG_AFTER_S:.0f} s")
            return
        state = compute_state(self._facts())
        was = self.state
        self._set_state(state)
        if state is PipelineState.ERROR and was is not state and serving is not None:
            self._kill_hung(serving, "takes frames and gives none back")

    def _kill_hung(self, revision: Revision, what: str) -> None:
        async def dump_and_kill() -> None:
            where = await revision.process.dump_stacks()
            report = ErrorReport("frame", "PipelineHung", f"the pipeline {what}; its process is ended", traceback=where)
            self._emit(PipelineFailed(revision=revision.number, report=report))
            revision.process.kill(what)

        self._spawn(dump_and_kill())

    def _facts(self) -> Facts:
        now = time.monotonic()
        since_input = now - (self.inputs.last or max(self._started_at, self._stream_at))
        return Facts(
            previous=self.state,
            pipeline=self.spec.name,
            process_alive=self.serving is not None or (self._load_task is not None and not self._load_task.done()),
            pipeline_ready=self.serving is not None and not self._reloading,
            stream_running=self._request_id is not None,
            ever_input=self.inputs.last is not None,
            since_input_s=since_input,
            since_output_s=now - self.outputs.rate.last if self.outputs.rate.last else float("inf"),
            since_load_s=now - max(self._load_at, self._stream_at),
            input_fps=self.inputs.fps,
            output_fps=self.outputs.rate.fps,
            since_error_s=now - self._error_at,
            since_restart_s=now - self._restart_at,
        )

    def _set_state(self, state: PipelineState) -> None:
        if state is self.state:
            return
        previous, self.state = self.state, state
        self._status.last_state_update_time = now_ms()
        self._emit(StateChanged(state=state.value, previous=previous.value))

    def status(self) -> PipelineStatus:
        """What `/api/status` answers."""
        status = self._status.model_copy(deep=True)
        status.state = self.state
        status.input_status.fps = round(self.inputs.fps, 2)
        status.inference_status.fps = round(self.outputs.rate.fps, 2)
        offset = time.time() - time.monotonic()
        if self.inputs.last:
            status.input_status.last_input_time = int((self.inputs.last + offset) * 1000)
        if self.outputs.rate.last:
            status.inference_status.last_output_time = int((self.outputs.rate.last + offset) * 1000)
        return status

    @property
    def process(self) -> PipelineProcess | None:
        """The serving process."""
        return self.serving.process if self.serving else None

    @property
    def loading_s(self) -> float | None:
        """For how long a load has been under way; None if none is."""
        if self._candidate is not None:
            return self._candidate.clock.elapsed_s
        return time.monotonic() - self._load_at if self._reloading else None

    def drops(self) -> Counter[str]:
        """All drops of this stream by reason, those in front of the process included."""
        return self._dropped + self.outputs.dropped + (self.serving.process.dropped if self.serving else Counter())

    @property
    def show_loading(self) -> bool:
        """Whether a picture is wanted in place of the output while the pipeline loads."""
        return bool(self.params.get("show_reloading_frame", True))

    @property
    def resolution(self) -> tuple[int, int] | None:
        """(width, height) of the outputs, as far as a pipeline has said."""
        loaded = self.process.loaded if self.process else None
        return (loaded.output_width, loaded.output_height) if loaded else None

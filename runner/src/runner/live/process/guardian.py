"""ProcessGuardian: keeps one good pipeline process running.

It starts the process, restarts it when it fails, and replaces it while it serves: the replacement
is loaded beside it and shown the same frames; once it has put out a valid one, the switch falls
between two input frames, and the old process ends when it has given back what it had taken. A
replacement that fails is thrown away, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...errors import ProcessError, RunnerError
from ..events import (
    Event,
    LoadStarted,
    LoadStepped,
    LoadSuperseded,
    LogWritten,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    SourcesChanged,
    StateChanged,
)
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from . import messages
from .failures import Failures
from .health import Health
from .outputs import FrameRate, Outputs
from .policy import RestartPolicy
from .process import LoadError, PipelineProcess, ProcessExit
from .revision import Revision, exit_report
from .state import STOP_STREAM_AFTER_S, PipelineState, compute_state
from .status import PipelineStatus

TICK_S = 1.0
RETIRE_GRACE_S = 1.0  # for what the old process had taken at a switch
PROOF_AGAIN_S = 0.2  # a replacement that is idle is shown the newest input again
RESTARTS_FORGOTTEN_S = 60.0  # a process that has served that long did not die of its start
HUNG_AFTER_S = 15.0  # without a heartbeat, which needs neither the event loop nor user code


class ProcessGuardian:
    """Guards the process of one pipeline.

    Attributes:
        spec: the pipeline.
        policy: how failures are answered.
        health: state, errors, restarts.
        stop_stream: called when the policy wants the running stream to end.
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
        self.health = Health(spec.name)
        self.stop_stream: Callable[[], None] | None = None
        self.serving: Revision | None = None
        self.params: dict[str, Any] = dict(spec.initial_params)
        self.inputs = FrameRate()
        self.outputs = Outputs()
        self._emit = emit
        self._verbose = verbose
        self._numbers = 0
        self._candidate: Revision | None = None
        self._last_input_s = float("-inf")
        self._dropped: Counter[str] = Counter()  # inputs of this stream that did not reach a pipeline
        self._newest: RawFrame | None = None  # input; what a replacement is shown first
        self._changed = asyncio.Event()  # serving has changed, or a load has failed
        self._request_id: str | None = None
        self._lossless = False
        self._load_task: asyncio.Task[None] | None = None
        self._completing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts_in_row = 0
        self._failures = Failures(emit)
        self._reloading = False
        self._closed = False
        self._ending: list[Revision] = []  # being stopped by `close`
        self._paused = False
        self._initial: dict[str, Any] = {}  # what the pipeline made of the initial params
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
        self._ending = self._revisions()
        self.serving = self._candidate = None
        self.outputs.switched()
        await asyncio.gather(*(revision.process.stop() for revision in self._ending))
        self.outputs.clear()

    def kill(self) -> None:
        """SIGKILL to every process of ours and to all that they have started. From any thread."""
        for revision in self._revisions() or self._ending:
            revision.process.kill()

    def _revisions(self) -> list[Revision]:
        return [revision for revision in (self._candidate, self.outputs.retiring, self.serving) if revision]

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
        before = [task for task in (previous, self._completing) if task is not None]
        if before:
            await asyncio.wait(before)
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
        if self.serving is None:
            self.health.failed(report.headline)
        self._emit(SourcesChanged(files=self._sources(revision)))
        self._emit(revision.failed(report, self.serving.number if self.serving else None))
        if self.serving is None:
            self._set_state(PipelineState.ERROR)
        self._changed.set()
        await revision.process.stop()
        if self.policy.retry_without_params and revision.number == 1 and self.params:
            self._emit(PipelineWarned(revision=1, message=f"tried once more without params {self.params}"))
            self.params = {}
            self._begin_load("again without the initial params", (), strict=True, saved_ago_s=0.0)

    def _sources(self, revision: Revision) -> tuple[str, ...]:
        """Files to watch: the serving revision's and those of the one that failed."""
        serving = self.serving.process.sources if self.serving else ()
        return tuple(sorted({*serving, *revision.process.sources}))

    async def _hand_over(self, revision: Revision) -> None:
        """Make a loaded revision the serving one; the one before goes on until this one is proven."""
        if self._request_id is not None:
            revision.process.open_stream(self._request_id)
        # Without a frame to show it, or where every frame counts, ready is all there is to know.
        provable = self._newest is not None and not self._lossless
        if provable:
            revision.clock.enter("first frame")
            self._emit(LoadStepped(revision=revision.number, step="first frame"))
            if self.serving is not None:
                await self._prove(revision)
        old = self._switch(revision)
        try:
            if old is None and provable:
                await self._first_outputs(revision)
        finally:
            # Has begun to serve, so it is completed in any case, also when a newer save cancels this load.
            if self.serving is revision:
                self._completing = self._spawn(self._complete(revision, old))
        if self._completing is not None:
            await asyncio.shield(self._completing)

    async def _complete(self, revision: Revision, old: Revision | None) -> None:
        """It serves: end the one before, and tell."""
        revision.clock.enter("stop old" if old else "")
        lost = await self._retire(old) if old is not None else 0
        self._emit(revision.succeeded(lost))
        self._show_again()

    async def _prove(self, revision: Revision) -> None:
        """Show it the newest input, and those that come, until it has put out what proves it.

        Raises:
            LoadError: a frame failed, or nothing came out in time.
        """
        proof = asyncio.ensure_future(revision.proven(self.policy.first_frame_timeout_s))
        try:
            while not proof.done():
                if self._newest is not None and self._request_id is not None and revision.process.idle:
                    revision.process.offer(self._newest, self._request_id)
                # Frames that come are offered to it too (`offer`); the source may be held, though.
                await asyncio.wait([proof], timeout=PROOF_AGAIN_S)
            await proof
        finally:
            proof.cancel()

    async def _first_outputs(self, revision: Revision) -> None:
        """Wait for the first outputs of a revision that had nothing to replace.

        A frame that fails is told as a failure of the serving pipeline, which goes on.

        Raises:
            LoadError: its process died of them.
        """
        try:
            await self._prove(revision)
        except LoadError:
            if self.serving is not revision:
                raise

    def _switch(self, revision: Revision) -> Revision | None:
        """Between two input frames: this revision gets all inputs from now on. The one before, if any."""
        old, self.serving = self.serving, revision
        self._candidate = None
        self.outputs.switch(revision, old, self._last_input_s)
        revision.process.dropped.clear()  # what it missed of the frames it was only shown
        if old is not None:
            self._dropped += old.process.dropped
            old.process.dropped.clear()
            old.owed = old.process.frames_sent - old.process.frames_received + old.process.waiting
        self._reloading = False
        self._failures.clear()
        self.health.loaded()
        loaded = revision.process.loaded
        assert loaded is not None
        self.params = dict(loaded.params)
        self._initial = self._initial or self.params
        self._set_state(PipelineState.ONLINE if self._request_id else PipelineState.OFFLINE)
        self._emit(SourcesChanged(files=revision.process.sources))
        for warning in revision.warnings:
            self._emit(PipelineWarned(revision=revision.number, message=warning))
        self._changed.set()
        return old

    async def _retire(self, old: Revision) -> int:
        """Wait for what the old process still owes, then end it; how many frames it never gave back.

        Once it has answered its last input it owes nothing: what it left out before, it left out for good
        (a pipeline may give fewer outputs than it gets inputs).
        """
        lost = 0
        try:
            if self._request_id is not None and old.last_output_s < self.outputs.boundary_s:
                await asyncio.wait_for(old.retired.wait(), RETIRE_GRACE_S)
        except asyncio.TimeoutError:
            lost = max(0, old.owed)
        self.outputs.switched()
        await old.process.stop()
        return lost

    def _show_again(self) -> None:
        """While the source is held: the newest input once more, so that what has changed is seen."""
        if self._paused and self.serving is not None and self._newest is not None and self._request_id is not None:
            self.outputs.rewind()
            self.serving.process.offer(self._newest, self._request_id)

    # ---- frames ----------------------------------------------------------------------------

    def open_stream(self, request_id: str, *, lossless: bool = False) -> None:
        """A stream begins: frames of this request follow. Counts begin anew."""
        self._request_id, self._lossless = request_id, lossless
        self._last_input_s = float("-inf")
        self._newest = None
        self.health.stream_began()
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
        for beside in (self._candidate, self.outputs.retiring):
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

    def on_started(self, revision: Revision) -> None:
        """A process of ours is there; it has not run anything of the user's yet."""
        self._emit(LoadStepped(revision=revision.number, step="start process", pid=revision.process.pid))

    def on_frame(self, revision: Revision, frame: RawFrame, request_id: str) -> None:
        """An output of any of our processes: pass it on, or not."""
        revision.prove()
        revision.last_output_s = max(revision.last_output_s, frame.time_s)
        if request_id != self._request_id:
            self._dropped["other stream"] += revision is self.serving
            frame.release()
        else:
            self.outputs.route(revision, frame)

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
        self.health.params_taken(applied.params)
        self._emit(ParamsChanged(params=applied.params))
        self._show_again()
        return applied.params

    # ---- messages and failures -------------------------------------------------------------

    def on_message(self, revision: Revision, message: messages.Message) -> None:
        """Whatever one of our processes tells, but frames."""
        match message:
            case messages.StepEntered(name):
                revision.clock.enter(name)
                self._emit(LoadStepped(revision=revision.number, step=name, pid=revision.process.pid))
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
                self.health.loaded()

    def _log(self, revision: Revision, line: messages.LogLine) -> None:
        self._emit(
            LogWritten(level=line.level, source=line.source, message=line.message, revision=revision.number, at=line.at)
        )
        if line.report:  # logged with extra={"report_error": True}
            self.health.failed(line.message)

    def _frame_failed(self, revision: Revision, report: ErrorReport) -> None:
        if revision.disprove(report) and revision is not self.serving:
            return  # told as the failure of its load
        self.health.failed(report.headline)
        self._dropped["pipeline error"] += report.phase == "frame"
        self._failures.add(revision.number, report)

    def on_exit(self, revision: Revision, exit: ProcessExit) -> None:
        """One of our processes has ended."""
        if revision is not self.serving or self._closed:
            return
        self.serving = None
        self._dropped += revision.process.dropped
        if self.policy.count_per_revision and self.health.since_load_s > RESTARTS_FORGOTTEN_S:
            self._restarts_in_row = 0
        restarting = self._restarts_in_row < self.policy.max_restarts
        self._emit(revision.exited(exit, restarting=restarting))
        self.health.failed(f"the pipeline process {exit.reason}")
        self._set_state(PipelineState.ERROR)
        if restarting:
            self._spawn(self._restart(exit))
        else:
            self.load_error = exit_report(exit)
            self._changed.set()

    async def _restart(self, exit: ProcessExit) -> None:
        """Start the process again, after the policy's pause."""
        await asyncio.sleep(self.policy.backoff_s * 2**self._restarts_in_row)
        if self._load_task is not None and not self._load_task.done():
            # It is the dead one's own, about to end, or that of a replacement, which is as good as a restart.
            await asyncio.wait([self._load_task])
        if self.serving is not None:
            return
        self._restarts_in_row += 1
        self.health.restarted(exit.logs)
        self._begin_load(f"restart: the process {exit.reason}", (), strict=False, saved_ago_s=0.0)

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
        if self._paused:
            return
        loading = self._load_task is not None and not self._load_task.done()
        facts = self.health.facts(
            self.inputs,
            self.outputs.rate,
            alive=serving is not None or loading,
            ready=serving is not None and not self._reloading,
            streaming=self._request_id is not None,
        )
        state = compute_state(facts)
        before = self._set_state(state)
        if state is PipelineState.ERROR and before is not state and serving is not None:
            self._kill_hung(serving, "takes frames and gives none back")
        if facts.stream_running and facts.since_input_s > STOP_STREAM_AFTER_S:
            self._stop_stream()
        if state is PipelineState.OFFLINE and before is not state:
            self._reset()

    def _stop_stream(self) -> None:
        if self.policy.stop_stream_on_error and self.stop_stream is not None:
            self.stop_stream()

    def _reset(self) -> None:
        """The stream is over: the next one begins with the initial params (contract part 6)."""
        if self.policy.reset_when_offline and self.serving is not None and self.params != self._initial:
            self._spawn(self._apply_initial())

    async def _apply_initial(self) -> None:
        try:
            await self.update_params(dict(self.spec.initial_params))
            self._initial = self.params
        except RunnerError as error:
            self._emit(PipelineWarned(revision=self._numbers, message=f"the initial params were refused: {error}"))

    def _kill_hung(self, revision: Revision, what: str) -> None:
        async def dump_and_kill() -> None:
            where = await revision.process.dump_stacks()
            report = ErrorReport("frame", "PipelineHung", f"the pipeline {what}; its process is ended", traceback=where)
            self._emit(PipelineFailed(revision=revision.number, report=report))
            revision.process.kill(what)

        self._spawn(dump_and_kill())

    def _set_state(self, state: PipelineState) -> PipelineState:
        """Returns the state before."""
        before = self.health.set_state(state)
        if state is not before:
            self._emit(StateChanged(state=state.value, previous=before.value))
        if state is PipelineState.ERROR and before is not state:
            self._stop_stream()
        return before

    def pause(self, paused: bool) -> None:
        """The source is held, or goes on: that no frames come is nobody's fault meanwhile."""
        self._paused = paused
        self.health.stream_began()

    def status(self) -> PipelineStatus:
        """What `/api/status` answers."""
        return self.health.status(self.inputs, self.outputs.rate)

    @property
    def state(self) -> PipelineState:
        """See `PipelineState`."""
        return self.health.state

    @property
    def process(self) -> PipelineProcess | None:
        """The serving process."""
        return self.serving.process if self.serving else None

    @property
    def loading_s(self) -> float | None:
        """For how long a load has been under way; None if none is."""
        if self._candidate is not None:
            return self._candidate.clock.elapsed_s
        return self.health.since_load_s if self._reloading else None

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

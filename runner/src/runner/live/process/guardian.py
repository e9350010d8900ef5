"""ProcessGuardian: keeps one good pipeline process running.

It starts the process, restarts it when it fails, and replaces it while it serves: the replacement
is loaded beside it and shown the same frames; once it has put out a valid one, the switch falls
between two input frames, and the old process ends when it has given back what it had taken. A
replacement that fails is thrown away, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...errors import ProcessError, RunnerError, SourceError
from ..events import (
    Event,
    LoadStepped,
    LogWritten,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    ReloadOptionsChanged,
    SourcesChanged,
    StateChanged,
)
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from . import messages
from .exit import ProcessExit
from .failures import Failures
from .health import Health
from .loads import Loads
from .memory import Gauge, SystemGauge
from .place import report_place
from .policy import PLAIN_RELOADS, ReloadOptions, RestartPolicy
from .process import LoadError, PipelineProcess
from .revision import LoadRequest, Revision, exit_report
from .standby import Standby
from .state import NO_INPUT_ERROR_S, STOP_STREAM_AFTER_S, PipelineState, compute_state
from .status import PipelineStatus
from .switchboard import Switchboard
from .watchdog import Watchdog

TICK_S = 1.0
RESTARTS_FORGOTTEN_S = 60.0  # a process that has served that long did not die of its start
SETTLED_S = 5.0  # one that crashes sooner was not good, if it does so twice
# One frame of a lossless stream, whose source waits for it: as long as a source may be silent in any other stream.
FRAME_LIMIT_S = NO_INPUT_ERROR_S
DEBUGGED_FOR_S = 10.0  # after a debugger lets the pipeline go on, until frames are expected again
HUNG_AFTER_S = 15.0  # without a heartbeat, which needs neither the event loop nor user code


class ProcessGuardian:
    """Guards the process of one pipeline.

    Attributes:
        spec: the pipeline.
        policy: how failures are answered.
        health: state, errors, restarts.
        stop_stream: called, with the reason, when the policy wants the running stream to end.
        params: the last ones that the pipeline has taken, or the initial ones.
        board: frames in and out, and who serves.
        standby: the process that waits for the next reload.
        loads: how code gets into a process.
        watchdog: notices what is wrong with the serving process before it is an error.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        policy: RestartPolicy,
        emit: Callable[[Event], None],
        *,
        options: ReloadOptions = PLAIN_RELOADS,
        gauge: Gauge | None = None,
        verbose: bool = False,
    ) -> None:
        self.spec = spec
        self.policy = policy
        self.health = Health(spec.name)
        self.stop_stream: Callable[[RunnerError], None] | None = None
        self.params: dict[str, Any] = dict(spec.initial_params)
        self.board = Switchboard()
        gauge = gauge or SystemGauge()
        self.standby = Standby(
            spec,
            emit,
            on=options.standby,
            reserve_bytes=options.standby_min_free_bytes,
            gauge=gauge,
            verbose=verbose,
        )
        self.loads = Loads(spec, policy, options, self.board, self.standby, gauge, self, emit, verbose=verbose)
        self.watchdog = Watchdog(emit)
        self._emit = emit
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts_in_row = 0
        self._crashes_in_row = 0  # soon after the start
        self._served_since = 0.0
        self._failures = Failures(emit)
        self._closed = False
        self._debugged_at = float("-inf")
        self._hung: PipelineProcess | None = None  # the latest that was to be killed for it
        self._wanted: dict[str, Any] | None = None  # params that came while nothing could take them
        self._initial: dict[str, Any] = {}  # what the pipeline made of the initial params
        self._updating = asyncio.Lock()
        self._updates = 0

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the pipeline, in the background."""
        self._spawn(self._tick_forever())
        self.standby.start()
        options = self.loads.options
        self._emit(ReloadOptionsChanged(keep_weights=options.keep_weights, standby=self.standby.on))
        self.loads.begin(LoadRequest("start", strict=True))

    def replace(self, request: LoadRequest) -> None:
        """Load anew beside the serving process, or into it; switch when it is good.

        A load under way is given up for this one.
        """
        if self.policy.count_per_revision:
            self._restarts_in_row = self._crashes_in_row = 0
        # Params that the pipeline has taken may be unknown to the new code; those it was started with
        # must be right.
        self.loads.begin(replace(request, strict=self.serving is None and self.loads.count < 2))

    def revert(self, number: int) -> None:
        """Load the code of an earlier good revision again.

        Raises:
            RunnerError: there is no such revision, or its sources are not kept.
        """
        if not self.loads.snapshots.get(number):
            raise RunnerError(f"revision {number} cannot be gone back to: its sources are not kept")
        self.replace(LoadRequest(f"back to revision {number}", restores=number))

    def set_options(self, *, keep_weights: bool | None = None, standby: bool | None = None) -> None:
        """Change how reloads are done; None leaves it as it is."""
        if keep_weights is not None:
            self.loads.options = replace(self.loads.options, keep_weights=keep_weights)
        if standby is not None and standby != self.standby.on:
            self.standby.switch(standby)
        self._emit(ReloadOptionsChanged(keep_weights=self.loads.options.keep_weights, standby=self.standby.on))

    async def close(self) -> None:
        """End everything. Safe to call twice."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loads.close()
        self.board.serving = self.board.candidate = None
        self.board.outputs.switched()
        await asyncio.gather(self.standby.close(), *(process.stop() for process in self.loads.processes))
        self.board.outputs.clear()

    def kill(self) -> None:
        """SIGKILL to every process of ours and to all that they have started. From any thread."""
        for process in self.loads.processes:
            process.kill()
        self.standby.kill()

    async def wait_serving(self) -> None:
        """Wait until a pipeline serves.

        Raises:
            LoadError: the latest load has failed.
        """
        while self.serving is None:
            if self.loads.error is not None:
                raise LoadError(self.loads.error)
            self.loads.changed.clear()
            await self.loads.changed.wait()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- what becomes of loads ---------------------------------------------------------------

    def on_loading(self) -> None:
        """Nothing serves, and something is being loaded."""
        self._set_state(PipelineState.LOADING)

    def on_serving(self, revision: Revision) -> None:
        """It has begun to serve."""
        self._failures.clear()
        self.health.loaded()
        self._served_since = time.monotonic()
        loaded = revision.process.loaded
        assert loaded is not None
        if revision.before is None:  # else the process has kept what it had
            self.params = dict(loaded.params)
            self._initial = self._initial or self.params
        self._set_state(PipelineState.ONLINE if self.board.request_id else PipelineState.OFFLINE)
        self._emit(SourcesChanged(files=revision.process.sources))
        for warning in revision.warnings:
            self._emit(PipelineWarned(revision=revision.number, message=warning))
        self._spawn(self._apply_wanted())

    def on_load_failed(self, revision: Revision, report: ErrorReport) -> None:
        """It did not come up."""
        if self.serving is None:
            self.health.failed(report.headline)
            self._set_state(PipelineState.ERROR)
        self._emit(SourcesChanged(files=self._sources(revision)))
        if self.policy.retry_without_params and revision.number == 1 and self.params:
            self._emit(PipelineWarned(revision=1, message=f"tried once more without params {self.params}"))
            self.params = {}
            request = LoadRequest("again without the initial params", strict=True)
            asyncio.get_running_loop().call_soon(self.loads.begin, request)

    def _sources(self, revision: Revision) -> tuple[str, ...]:
        """Files to watch: the serving revision's and those of the one that failed."""
        processes = [self.process, getattr(revision, "process", None)]
        return tuple(sorted({file for process in processes if process is not None for file in process.sources}))

    # ---- frames ----------------------------------------------------------------------------

    def open_stream(self, request_id: str, *, lossless: bool = False) -> None:
        """A stream begins: frames of this request follow. Counts begin anew."""
        self.health.stream_began()
        self.board.open_stream(request_id, lossless=lossless)
        if self.serving is not None:
            self._set_state(PipelineState.ONLINE)

    async def send(self, frame: RawFrame) -> None:
        """Give a frame to the pipeline, waiting until it can take it.

        Raises:
            LoadError: there is no pipeline and will be none.
            ProcessError: it ended before it could take the frame.
        """
        await self.wait_serving()
        await self.board.send(frame)

    async def drain(self, quiet_s: float = 1.0) -> None:
        """No more input: wait until the pipeline has put out what it still had.

        Raises:
            ProcessError: it ended first.
        """
        if self.serving is not None:
            await self.serving.process.drain(quiet_s)

    def on_frame(self, revision: Revision, frame: RawFrame, request_id: str) -> None:
        """An output of any of our processes: pass it on, or not."""
        revision.count_output()
        self.board.take_output(revision, frame, request_id)

    # ---- params ----------------------------------------------------------------------------

    async def update_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Apply params (all of them); what the pipeline made of them.

        Updates are applied one after the other, in the order of the calls. While the pipeline loads they are kept
        for it; should it refuse them then, that is told as its error.

        Raises:
            ParamsError: refused; the old ones stay.
            ProcessError: there is no pipeline to take them, or it does not answer.
        """
        async with self._updating:
            return await self._update(params)

    async def _update(self, params: dict[str, Any]) -> dict[str, Any]:
        self.check_alive()
        self._updates += 1
        if self.serving is None:
            self._wanted = params
            return params
        self._wanted = None
        applied = await self.serving.process.update_params(params)
        self.board.reloading = applied.reloading
        self.health.params_taken(params)
        self._params_changed(applied.params, applied.schema)
        self.board.show_again()
        return applied.params

    def _params_changed(self, params: dict[str, Any], schema: dict[str, Any]) -> None:
        self.params = params
        self._emit(ParamsChanged(params=params, params_schema=schema))

    def check_alive(self) -> None:
        """Look whether a pipeline serves, or is on its way.

        Raises:
            ProcessError: none is, and why.
        """
        if self.serving is None and self.state is not PipelineState.LOADING:
            failed = f": {self.loads.error.headline}" if self.loads.error is not None else ""
            raise ProcessError(f"no pipeline is running{failed}")

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
                self._warned(self.loads.tried_in(revision), text)
            case messages.SourcesSeen(files) if revision is self.serving:
                self.loads.sources_seen(revision)
                self._emit(SourcesChanged(files=files))
            case messages.ModulesSeen(names) if revision is self.serving:
                self.standby.learn(names)
                self.standby.renew()
            case messages.CodeProven(number):
                self.loads.proven(number)
            case messages.CodeRefuted(number, reason, frames):
                self.loads.refuted(number, reason, frames)
            case messages.CodeUndone(number, report):
                if not self.loads.undone(number, report):
                    self._failures.add(number, report)
            case messages.ReloadChanged(reloading) if revision is self.serving:
                self.board.reloading = reloading
                self.health.loaded()
            case messages.ParamsReloaded(params, schema) if revision is self.serving:
                self.board.reloading = False
                self.health.loaded()
                if params != self.params:
                    self._params_changed(params, schema)

    def _warned(self, revision: Revision, text: str) -> None:
        """The warnings of a revision that is not proven are emitted when it serves."""
        revision.warnings.append(text)
        if revision is self.serving:
            self._emit(PipelineWarned(revision=revision.number, message=text))

    def _log(self, revision: Revision, line: messages.LogLine) -> None:
        self._emit(
            LogWritten(
                level=line.level,
                source=line.source,
                message=line.message,
                revision=revision.number,
                report_error=line.report,
                at=line.at,
            )
        )
        if line.report:  # logged with extra={"report_error": True}
            self.health.failed(line.message)

    def _frame_failed(self, revision: Revision, report: ErrorReport) -> None:
        if revision.disprove(report) and revision is not self.serving:
            return  # told as the failure of its load
        self.health.failed(report.headline)
        if report.phase == "frame":
            self.board.drop("pipeline error")
        self._failures.add(revision.number, report)

    def on_exit(self, revision: Revision, exit: ProcessExit) -> None:
        """One of our processes has ended."""
        if revision is not self.serving or self._closed:
            return
        self.board.lose()
        self.loads.process_ended(revision, exit)
        if self.policy.count_per_revision and self.health.since_load_s > RESTARTS_FORGOTTEN_S:
            self._restarts_in_row = 0
        current = self.loads.current
        taking_code = current is not None and current.plan.way == "in place"  # not this revision's fault
        soon = time.monotonic() - self._served_since < SETTLED_S and not taking_code
        self._crashes_in_row = self._crashes_in_row + 1 if soon and exit.is_crash else 0
        back = self._crashes_in_row > 1 and self.loads.snapshots.latest(before=revision.number) is not None
        restarting = back or self._restarts_in_row < self.policy.max_restarts
        self._emit(revision.exited(exit, restarting=restarting))
        self.health.failed(f"the pipeline process {exit.reason}")
        self._set_state(PipelineState.ERROR)
        if restarting:
            self._spawn(self._restart(revision, exit, back=back))
        else:
            self.loads.error = exit_report(exit)
            self.loads.changed.set()

    async def _restart(self, revision: Revision, exit: ProcessExit, *, back: bool) -> None:
        """Start again what has ended, after the policy's pause; with `back` the good revision before it."""
        if not back:
            await asyncio.sleep(self.policy.backoff_s * ((1 << self._restarts_in_row) - 1))
        while (task := self.loads.under_way) is not None:
            # It is the dead one's own, about to end, or that of a replacement, which is as good as a restart.
            await asyncio.wait([task])
        if self.serving is not None:
            return
        self._restarts_in_row += 1
        self.health.restarted(exit.logs)
        if back:
            self.loads.snapshots.forget(revision.number)
            self._crashes_in_row = 0
            self.loads.go_back(revision, f"revision {revision.number} {exit.reason} twice")
            return
        # What served, which need not be what is on disk; where nothing was kept, that is all there is.
        kept = self.loads.snapshots.get(revision.number)
        restores = revision.number if kept else None
        self.loads.begin(LoadRequest(f"restart: the process {exit.reason}", restores=restores))

    # ---- state -----------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick()

    def _tick(self) -> None:
        serving = self.serving
        if serving is not None and self._is_debugged(serving.process):
            return
        if serving is not None and time.monotonic() - serving.process.heartbeat_at > HUNG_AFTER_S:
            self._kill_hung(serving, f"gives no sign of life for {HUNG_AFTER_S:.0f} s")
            return
        self.standby.check()
        if self.board.paused:
            return
        if serving is not None and self.board.lossless and serving.process.busy_s > FRAME_LIMIT_S:
            self._kill_hung(serving, f"has not answered a frame for {FRAME_LIMIT_S:.0f} s")
            return
        if serving is not None:
            self._spawn(self.watchdog.look(serving))
        facts = self.health.facts(
            self.board.inputs,
            self.board.outputs.rate,
            alive=serving is not None or self.loads.under_way is not None,
            ready=serving is not None and not self.board.reloading,
            streaming=self.board.request_id is not None,
        )
        if self.board.outputs.waiting:  # the sink is behind, which is no fault of the pipeline
            facts = replace(facts, since_output_s=0.0)
        state = compute_state(facts)
        before = self._set_state(state)
        if state is PipelineState.ERROR and before is not state and serving is not None:
            self._kill_hung(serving, "takes frames and gives none back")
        if facts.stream_running and facts.since_input_s > STOP_STREAM_AFTER_S:
            self._stop_stream(SourceError(f"no input for {STOP_STREAM_AFTER_S:.0f} s"))
        if state is PipelineState.OFFLINE and before is not state:
            self._reset()

    def _is_debugged(self, process: PipelineProcess) -> bool:
        if process.debugged:
            self._debugged_at = time.monotonic()
        return time.monotonic() - self._debugged_at < DEBUGGED_FOR_S

    def _stop_stream(self, reason: RunnerError) -> None:
        if self.policy.stop_stream_on_error and self.stop_stream is not None:
            self.stop_stream(reason)

    def _reset(self) -> None:
        """The stream is over: the next one begins with the initial params (contract part 6)."""
        if self.policy.reset_when_offline and self.serving is not None and self.params != self._initial:
            self._spawn(self._apply_initial(self._updates))

    async def _apply_initial(self, updates: int) -> None:
        """`updates`: as many as there were when the stream was found to be over."""
        async with self._updating:
            if self._updates != updates:  # newer params came first, and stay
                return
            if await self._apply(dict(self.spec.initial_params), "the initial params"):
                self._initial = self.params

    async def _apply_wanted(self) -> None:
        async with self._updating:
            if self._wanted is not None:
                await self._apply(self._wanted, "the params that came while it was loading")

    async def _apply(self, params: dict[str, Any], what: str) -> bool:
        try:
            await self._update(params)
        except RunnerError as error:
            report = ErrorReport("update_params", type(error).__name__, f"{what} were refused: {error}")
            self.health.failed(report.headline)
            self._emit(PipelineFailed(revision=self.loads.count, report=report))
            return False
        return True

    def _kill_hung(self, revision: Revision, what: str) -> None:
        async def dump_and_kill() -> None:
            where = await revision.process.dump_stacks()
            report = report_place("frame", "PipelineHung", f"the pipeline {what}; its process is ended", where)
            self._emit(PipelineFailed(revision=revision.number, report=report))
            revision.process.kill(what)

        if self._hung is not revision.process:  # else that is under way
            self._hung = revision.process
            self._spawn(dump_and_kill())

    def _set_state(self, state: PipelineState) -> PipelineState:
        """Returns the state before."""
        before = self.health.set_state(state)
        if state is not before:
            self._emit(StateChanged(state=state.value, previous=before.value))
        if state is PipelineState.ERROR and before is not state:
            self._stop_stream(ProcessError("the pipeline has failed"))
        return before

    def pause(self, paused: bool) -> None:
        """The source is held, or goes on: that no frames come is nobody's fault meanwhile."""
        self.board.paused = paused
        self.board.losses.interrupt()
        self.health.stream_began()

    def status(self) -> PipelineStatus:
        """What `/api/status` answers."""
        return self.health.status(self.board.inputs, self.board.outputs.rate)

    @property
    def state(self) -> PipelineState:
        """See `PipelineState`."""
        return self.health.state

    @property
    def serving(self) -> Revision | None:
        """The revision whose outputs are passed on, None while there is none."""
        return self.board.serving

    @property
    def params_wanted(self) -> dict[str, Any]:
        """The params in force, or those that wait for the pipeline to be loaded."""
        return self._wanted if self._wanted is not None else self.params

    @property
    def has_initial_params(self) -> bool:
        """Whether the pipeline runs with what it was started with."""
        return self.params_wanted in (self._initial, self.spec.initial_params)

    @property
    def takes_frames(self) -> bool:
        """Whether a pipeline serves that is not busy with reloading itself."""
        return self.serving is not None and not self.board.reloading

    @property
    def process(self) -> PipelineProcess | None:
        """The serving process."""
        return self.serving.process if self.serving else None

    @property
    def loading_s(self) -> float | None:
        """For how long a load has been under way; None if none is."""
        if self.loads.current is not None:
            return self.loads.current.clock.elapsed_s
        return self.health.since_load_s if self.board.reloading else None

    @property
    def show_loading(self) -> bool:
        """Whether a picture is wanted in place of the output while the pipeline loads."""
        return bool(self.params.get("show_reloading_frame", True))

    @property
    def resolution(self) -> tuple[int, int] | None:
        """(width, height) of the outputs, as far as a pipeline has said."""
        loaded = self.process.loaded if self.process else None
        return (loaded.output_width, loaded.output_height) if loaded else None

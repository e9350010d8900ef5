"""Loads: brings the user's code into a process that serves, and replaces it by newer code.

A load tries the cheapest way that is sound: new code into the running process; a fresh process beside
the one that serves, which takes over once it has proven itself; or, where memory has no room for two,
a fresh process after the old one has ended. One load at a time; a newer one gives up the one under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from ...errors import ProcessError
from ...time_limit import time_limit
from ..events import (
    Event,
    LoadPlan,
    LoadPlanned,
    LoadStarted,
    LoadStepped,
    LoadSuperseded,
)
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from .exit import ProcessExit
from .memory import Gauge, ProcessUse, measure_use
from .messages import PatchCode
from .place import report_place
from .policy import PLAIN_RELOADS, ReloadOptions, RestartPolicy
from .process import LoadError, PatchRefused, PipelineProcess
from .revision import LoadRequest, Revision, RevisionOwner, exit_report
from .room import measure_room, wait_returned
from .snapshots import Snapshots
from .standby import Standby
from .switchboard import Switchboard

RETIRE_GRACE_S = 1.0  # for what the old process had taken at a switch
PATCH_ANSWER_S = 5.0  # for the pipeline to come round to taking new code
PATCH_PROOF_S = 5.0  # from one frame of it to the next; after that it hangs
_PROOF_LOOK_S = 0.05
COUNT_LIMIT_S = 5.0  # for the second output of new code that serves; after that what is known of the loss is reported


class LoadsOwner(RevisionOwner, Protocol):
    """Who is told what becomes of loads: the guardian."""

    @property
    def params(self) -> dict[str, Any]:
        """Given to what is loaded."""
        ...

    def on_loading(self) -> None:
        """Nothing serves, and something is being loaded."""
        ...

    def on_serving(self, revision: Revision) -> None:
        """It has begun to serve."""
        ...

    def on_load_failed(self, revision: Revision, report: ErrorReport) -> None:
        """It did not come up; what served before still does, if anything did."""
        ...


class Loads:
    """All loads of one pipeline.

    Attributes:
        options: how they are done; may be set at any time.
        error: why the latest load failed, None while it has not.
        count: loads so far.
        current: the one under way.
        changed: set when a load has succeeded or failed.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        policy: RestartPolicy,
        options: ReloadOptions,
        board: Switchboard,
        standby: Standby,
        gauge: Gauge,
        owner: LoadsOwner,
        emit: Callable[[Event], None],
        *,
        verbose: bool = False,
    ) -> None:
        self.options = options
        self.error: ErrorReport | None = None
        self.count = 0
        self.current: Revision | None = None
        self.changed = asyncio.Event()
        self.snapshots = Snapshots(options.snapshots)
        self._spec = spec
        self._policy = policy
        self._board = board
        self._standby = standby
        self._gauge = gauge
        self._owner = owner
        self._emit = emit
        self._verbose = verbose
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None  # of an old process; never given up half-way
        self._tasks: set[asyncio.Task[Any]] = set()
        self._processes: list[PipelineProcess] = []
        self._unreported: Revision | None = None  # serves, and its loss is still being counted

    @property
    def processes(self) -> list[PipelineProcess]:
        """All that were started or taken for a load and have not ended: serving, loading, given up, replaced."""
        return [process for process in self._processes if process.pid and process.exit is None]

    def begin(self, request: LoadRequest) -> None:
        """Load, giving up a load that is under way."""
        if self._task is not None:
            self._task.cancel()
        self.count += 1
        self.error = None
        revision = Revision(self.count, request, self._owner)
        revision.loss = self._board.losses.start(revision.clock.started_at)
        self._report()
        previous, self._task = self._task, None
        self._task = self._spawn(self._load(revision, previous))

    @property
    def under_way(self) -> asyncio.Task[None] | None:
        """The load under way, if any."""
        return None if self._task is None or self._task.done() else self._task

    async def close(self) -> None:
        """Give up what is under way; the `processes` are the caller's to end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- one load --------------------------------------------------------------------------

    async def _load(self, revision: Revision, previous: asyncio.Task[None] | None) -> None:
        before = [task for task in (previous, self._ending) if task is not None]
        if before:
            await asyncio.wait(before)
        self.current = revision
        request, serving = revision.request, self._board.serving
        number = serving.number if serving else None
        self._emit(
            LoadStarted(
                revision=revision.number,
                reason=request.reason,
                files=request.files,
                serving=number,
                restores=request.restores,
            )
        )
        try:
            if not await self._patch(revision):
                await self._replace(revision)
        except LoadError as error:
            await self._give_up(revision, error.report)
        except asyncio.CancelledError:
            if self._board.serving is not revision:
                self._abandon(revision)
                self._emit(LoadSuperseded(revision=revision.number))
            raise
        finally:
            if self.current is revision:
                self.current = None
            self._standby.renew()

    def _abandon(self, revision: Revision) -> None:
        """End its process, unless that is the one which serves."""
        if self._board.candidate is revision:
            self._board.candidate = None
        serving = self._board.serving
        process = getattr(revision, "process", None)
        if process is not None and (serving is None or process is not serving.process):
            process.kill()

    async def _give_up(self, revision: Revision, report: ErrorReport) -> None:
        self.error = report
        self._abandon(revision)
        serving = self._board.serving
        if serving is not None:
            self._board.losses.close(revision.loss)
        self._owner.on_load_failed(revision, report)
        self._emit(revision.failed(report, serving.number if serving else None))
        self.changed.set()
        process = getattr(revision, "process", None)
        if process is not None and (serving is None or process is not serving.process):
            await process.stop()
        if serving is None and self._board.serving is None:
            self.go_back(revision, report.headline.splitlines()[0])

    def go_back(self, revision: Revision, why: str) -> bool:
        """Nothing serves: load the newest good revision before this one; whether there is one."""
        limit = revision.request.restores or revision.number
        good = self.snapshots.latest(before=limit)
        if good is None:
            return False
        self.begin(LoadRequest(f"back to revision {good}: {why}", restores=good))
        return True

    def _plan(self, revision: Revision, plan: LoadPlan) -> None:
        revision.plan = plan
        self._emit(LoadPlanned(revision=revision.number, plan=plan))

    def _enter(self, revision: Revision, step: str) -> None:
        revision.clock.enter(step)
        self._emit(LoadStepped(revision=revision.number, step=step))

    # ---- new code in the running process ---------------------------------------------------

    async def _patch(self, revision: Revision) -> bool:
        """Put the code into the process that serves. False: a fresh process it must be, `plan.why` says why.

        Raises:
            LoadError: the code is wrong; the process has the code that it had before.
        """
        serving = self._board.serving
        if serving is None or not self.options.keep_weights or revision.request.restores is not None:
            return False
        why = revision.request.why or _unpatchable(revision.request)
        if why or revision.request.whole:  # a user who wants a fresh process is reason enough
            revision.plan = replace(revision.plan, why=why)
            return False
        revision.use_before = self._use(serving.process)
        self._plan(revision, LoadPlan(level="code", way="in place"))
        self._enter(revision, "new code")
        try:
            await self._put_in(revision, serving)
        except LoadError:
            raise
        except PatchRefused as refused:
            revision.plan = replace(revision.plan, why=f"not in place: {refused}")
            revision.expect_proof()
            return False
        except ProcessError as error:
            revision.plan = replace(revision.plan, why=str(error))
            return False
        self._completed_patch(revision, serving)
        return True

    async def _prove_patch(self, revision: Revision, serving: Revision) -> None:
        """Wait until its process has seen all of the new code run on frames.

        Raises:
            PatchRefused: a part did not run on a frame.
            LoadError: a frame failed, the process died, or it hangs and is killed.
        """
        process = serving.process
        received, since = process.frames_received, time.monotonic()
        while not await self._proven_within(revision, _PROOF_LOOK_S):
            if process.frames_received != received or process.debugged:
                received, since = process.frames_received, time.monotonic()
            if self._board.paused and process.idle:
                self._board.show_again()
            if self._board.request_id is None or (time.monotonic() - since > PATCH_PROOF_S and process.idle):
                revision.unproven = True
                revision.warnings.append("no frame has shown yet whether the new code runs; the next ones will")
                return
            if time.monotonic() - since > PATCH_PROOF_S:
                raise LoadError(await self._kill_hung(process))

    async def _proven_within(self, revision: Revision, seconds: float) -> bool:
        try:
            await self._proven(revision, seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def _kill_hung(self, process: PipelineProcess) -> ErrorReport:
        where = await process.dump_stacks()
        process.kill("hung in the code that was put into it")
        await process.stop()  # what is told from here on must know that nothing serves
        message = f"the new code returned no frame for {PATCH_PROOF_S:.0f} s; its process was killed"
        return report_place("frame", "PipelineHung", message, where)

    async def _put_in(self, revision: Revision, serving: Revision) -> None:
        """Raises PatchRefused: the code could not be put in, or its first frames did not prove it."""
        request = revision.request
        message = PatchCode(revision.number, request.files, request.force, self.options.trusted)
        settled = False
        serving.process.hold_frames(True)
        try:
            patched = await serving.process.patch(message, PATCH_ANSWER_S)
            if patched.empty and not (request.files or request.force):
                raise PatchRefused("no file has changed")  # asked for by hand: for a fresh start, then
            revision.forced = patched.forced
            self._enter(revision, "first frame")
            await self._prove_patch(revision, serving)
            settled = True
        finally:
            serving.process.hold_frames(False)
            if not settled:  # also where a newer save cancels this one
                serving.process.drop_patch(revision.number)

    def _completed_patch(self, revision: Revision, serving: Revision) -> None:
        if serving.process.exit is not None or self._board.serving is not serving:
            raise LoadError(
                ErrorReport("process", "ProcessExited", "the pipeline process ended while it took new code")
            )
        revision.take_over(serving)
        self._board.rename(revision)
        self.snapshots.keep(revision.number, revision.process.snapshot)
        self._owner.on_serving(revision)
        self.changed.set()
        self._count_loss(revision)

    def sources_seen(self, serving: Revision) -> None:
        """The serving process has imported more, on a frame perhaps: that belongs to what its revision is made of."""
        current = self.current
        if current is None or current.plan.way != "in place":  # else it may be code that is not proven yet
            self.snapshots.keep(serving.number, serving.process.snapshot)

    def refuted(self, number: int, reason: str, frames: int) -> None:
        """A changed part did not run on the first frames; the process has the code before it."""
        many = "1 frame" if frames == 1 else f"{frames} frames"
        why = f"{reason} ({many} came from the new code before it was taken back)"
        current, serving = self.current, self._board.serving
        if current is not None and current.number == number:
            current.refute(why)
        elif current is None and serving is not None and serving.number == number:
            request = serving.request
            self.begin(LoadRequest(request.reason, request.files, whole=True, why=f"not in place: {why}"))

    def tried_in(self, revision: Revision) -> Revision:
        """The one whose code its process runs: itself, or one that is being put in."""
        current = self.current
        trying = current is not None and current.plan.way == "in place" and revision is self._board.serving
        return current if trying and current is not None else revision

    def proven(self, number: int) -> None:
        """The code that was put into the process was seen to run on its first frames."""
        for revision in {self.current, self._unreported, self._board.serving}:
            if revision is not None and revision.number == number:
                if self._board.serving is not None:
                    self._board.losses.end(revision.loss, self._board.serving.last_output_s)
                revision.prove()
                revision.unproven = False

    def process_ended(self, serving: Revision, exit: ProcessExit) -> None:
        """It may have been taking new code just then."""
        self._report()
        current = self.current
        if current is not None and current is not serving and current.plan.way == "in place":
            current.disprove(exit_report(exit))

    def undone(self, number: int, report: ErrorReport) -> bool:
        """The process has taken new code back at an exception; whether that was told as a failed load."""
        self._report()
        current, serving = self.current, self._board.serving
        if current is not None and current.number == number:
            return current.disprove(report)
        if serving is None or serving.number != number or serving.before is None:
            return False
        before = serving.before
        before.run_in(serving.process)
        self._board.rename(before)
        self.snapshots.forget(number)
        self._emit(serving.failed(report, before.number))
        return True

    # ---- a fresh process -------------------------------------------------------------------

    async def _replace(self, revision: Revision) -> None:
        """Load in a fresh process, and make it the one that serves.

        Raises:
            LoadError: it did not come up, or gave no valid frames.
        """
        old = self._board.serving
        plan = self._way(revision, old)
        if old is not None and plan.way == "hand-over":
            self._plan(revision, plan)
            await self._make_room(revision, old)
        if revision.request.whole and not revision.request.why:
            self._standby.forget()  # asked for when a dependency was installed, say
        taken = await self._standby.take()
        self._plan(revision, replace(plan, standby=taken[1] if taken is not None else ""))
        if self._board.serving is None:
            self._owner.on_loading()
        await self._launch(revision, taken[0] if taken is not None else None)
        snapshot = self.snapshots.get(revision.request.restores or 0)
        params = dict(self._owner.params)
        patchable = self.options != PLAIN_RELOADS
        await revision.load(params, snapshot, self.snapshots.folder, self._policy.load_timeout_s, patchable=patchable)
        await self._hand_over(revision)

    def _way(self, revision: Revision, old: Revision | None) -> LoadPlan:
        """Overlap or hand-over, by what is free."""
        why = revision.plan.why
        if old is None:
            return LoadPlan(level="process", way="start", why=why)
        revision.use_before = self._use(old.process)
        room = measure_room(self._gauge, old.process.pid, old.process.vram_reserved)
        overlap = self.options.replace == "overlap" or (self.options.replace == "auto" and room.enough)
        return LoadPlan(
            level="process",
            way="overlap" if overlap else "hand-over",
            why=why,
            memory=room.memory,
            needed_bytes=room.needed_bytes,
            free_bytes=room.free_bytes,
        )

    async def _launch(self, revision: Revision, ready: PipelineProcess | None) -> None:
        """Start its process, or take the one that is ready. It has not run anything of the user's yet."""
        revision.clock.enter("start process")
        process = ready or PipelineProcess(
            self._spec, on_frame=lambda *_: None, on_message=lambda _: None, verbose=self._verbose
        )
        self._processes = [*self.processes, process]
        revision.run_in(process)
        if ready is None:
            await process.launch()
        self._board.candidate = revision
        self._emit(LoadStepped(revision=revision.number, step="start process", pid=process.pid))

    async def _make_room(self, revision: Revision, old: Revision) -> None:
        """End the old process, and see its memory come back."""
        gpus = self._gauge.gpus(old.process.pid, old.process.vram_reserved)
        self._board.vacate()
        self._owner.on_loading()
        self._enter(revision, "stop old")
        self._ending = self._spawn(self._retire(old))
        await asyncio.shield(self._ending)
        self._enter(revision, "memory back")
        if not await wait_returned(self._gauge, gpus):
            revision.warnings.append("the old process has ended, but not all of its GPU memory was seen to come back")

    async def _hand_over(self, revision: Revision) -> None:
        """Make a loaded revision the serving one; the one before goes on until this one is proven."""
        if self._board.request_id is not None:
            revision.process.open_stream(self._board.request_id)
        # Without a frame to show it, or where every frame counts, ready is all there is to know.
        provable = self._board.provable
        if provable:
            self._enter(revision, "first frame")
            if self._board.serving is not None:
                await self._prove(revision)
        old = self._board.switch(revision)
        self._begin_serving(revision)
        try:
            if old is None and provable:
                await self._first_outputs(revision)
        finally:
            # Has begun to serve, so it is completed in any case, also when a newer save cancels this load.
            if self._board.serving is revision:
                self._ending = self._spawn(self._complete(revision, old))
        if self._ending is not None:
            await asyncio.shield(self._ending)

    def _begin_serving(self, revision: Revision) -> None:
        self.snapshots.keep(revision.number, revision.process.snapshot)
        self._standby.learn(revision.process.modules)
        self._owner.on_serving(revision)
        self.changed.set()

    async def _complete(self, revision: Revision, old: Revision | None) -> None:
        """It serves: end the one before, and tell."""
        revision.clock.serves()
        revision.clock.enter("stop old" if old else "")
        if old is not None:
            await self._retire(old)
        self._count_loss(revision)
        self._board.show_again()

    async def _prove(self, revision: Revision) -> None:
        """Show it frames until it has put out what proves it.

        Raises:
            LoadError: a frame failed, or nothing came out in time.
        """
        showing = asyncio.create_task(self._board.show_recent(revision))
        try:
            while not await self._proven_within(revision, self._policy.first_frame_timeout_s):
                if not revision.process.debugged:
                    raise LoadError(await _no_output(revision, self._policy.first_frame_timeout_s))
        finally:
            showing.cancel()

    async def _proven(self, revision: Revision, timeout_s: float) -> None:
        """Raises LoadError when a frame fails, asyncio.TimeoutError when none comes."""
        async with time_limit(timeout_s):
            await asyncio.shield(revision.proof)

    async def _first_outputs(self, revision: Revision) -> None:
        """Wait for the first outputs of a revision that had nothing to replace.

        A frame that fails is told as a failure of the serving pipeline, which goes on.

        Raises:
            LoadError: its process died of them.
        """
        try:
            await self._prove(revision)
        except LoadError:
            if self._board.serving is not revision:
                raise

    async def _retire(self, old: Revision) -> None:
        """Wait for what the old process still owes, then end it.

        Once it has answered its last input it owes nothing: what it left out before, it left out for good
        (a pipeline may give fewer outputs than it gets inputs).
        """
        if self._board.request_id is not None and old.last_output_s < self._board.outputs.boundary_s:
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(RETIRE_GRACE_S):
                    await old.retired.wait()
        self._board.outputs.switched()
        with contextlib.suppress(ProcessError):
            await old.process.stop()

    # ---- the report of a load that succeeded -----------------------------------------------

    def _count_loss(self, revision: Revision) -> None:
        """Report a revision that serves, as soon as its second output shows the loss; at once if no output can."""
        revision.clock.finish()
        revision.loss.switched = True
        self._unreported = revision
        flowing = self._board.inputs.fps > 0 and not self._board.paused
        if flowing and revision.loss.counts and not revision.loss.done.is_set():
            self._spawn(self._report_counted(revision))
        else:
            self._report()

    async def _report_counted(self, revision: Revision) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(COUNT_LIMIT_S):
                await revision.loss.done.wait()
        if self._unreported is revision:
            self._report()

    def _report(self) -> None:
        """Emit the success that waits for its loss to be known, if there is one."""
        revision, self._unreported = self._unreported, None
        if revision is not None:
            self._board.losses.close(revision.loss)
            self._emit(revision.succeeded(self._owner.params, self._use(revision.process)))

    def _use(self, process: PipelineProcess) -> ProcessUse:
        return measure_use(self._gauge, process.pid, process.vram_reserved)


def _unpatchable(request: LoadRequest) -> str:
    """Why the saved files need a fresh process by themselves; "" if they do not."""
    others = [file for file in request.files if not file.endswith(".py")]
    if others:
        return f"not in place: {others[0].rpartition('/')[2]} is no Python source"
    return ""


async def _no_output(revision: Revision, timeout_s: float) -> ErrorReport:
    message = f"no output frame within {timeout_s:.0f} s of the first input"
    report = report_place("frame", "NoOutput", message, await revision.process.dump_stacks())
    return replace(report, hint="Does get_processed_video_frame (or transform) ever return a frame?")

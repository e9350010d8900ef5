"""A revision: one load of the user's code, with its process and its stopwatch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Protocol

from ..code.source import SourceFile
from ..events import LoadFailed, LoadPlan, LoadSucceeded, ProcessExited, Step
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from .exit import ProcessExit
from .loss_counter import LossWindow
from .memory import ProcessUse
from .messages import Message
from .place import report_place
from .process import LoadError, PatchRefused, PipelineProcess

PROOF_OUTPUTS = 2  # code that looks back at the frame before runs in full from the second one on


class Stopwatch:
    """Times the steps of a load, one after the other."""

    def __init__(self, already_s: float = 0.0) -> None:
        """`already_s`: how long ago it should have been started; becomes the step "notice the save"."""
        self.started_at = time.monotonic() - already_s
        self._step = "notice the save" if already_s else ""
        self._step_at = self.started_at
        self._steps: list[Step] = []
        self._finished_at: float | None = None

    def enter(self, name: str) -> None:
        """The step before ends and this one begins."""
        now = time.monotonic()
        if self._step:
            self._steps.append(Step(name=self._step, seconds=now - self._step_at))
        self._step, self._step_at = name, now

    def serves(self) -> None:
        """The load has come to its end: what follows cleans up, and counts as a step only."""
        self.enter("")
        self._finished_at = self._finished_at or self._step_at

    def finish(self) -> tuple[Step, ...]:
        """Stop, and end the step under way; all of them. Again: the same."""
        self.enter("")
        self._finished_at = self._finished_at or self._step_at
        return tuple(self._steps)

    @property
    def elapsed_s(self) -> float:
        return (self._finished_at or time.monotonic()) - self.started_at


def exit_report(exit: ProcessExit) -> ErrorReport:
    """The end of a process, as an error."""
    return report_place("process", "ProcessExited", f"the pipeline process {exit.reason}", "\n".join(exit.logs))


class RevisionOwner(Protocol):
    """Who is told what a revision's process does: the guardian."""

    def on_frame(self, revision: Revision, frame: RawFrame, request_id: str) -> None: ...

    def on_message(self, revision: Revision, message: Message) -> None: ...

    def on_exit(self, revision: Revision, exit: ProcessExit) -> None: ...


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What is to be loaded, and why.

    Attributes:
        reason, files: told in the events of the load.
        strict: a refused param fails the load; else it is dropped and named.
        saved_ago_s: how long ago the save was that asks for it; counts into its times.
        whole: in a fresh process, also where the running one could take the new code; `why` says why, "" if asked for.
        force: put it into the running process where that can be done, proven or not.
        restores: the earlier revision whose code is wanted; None for what is on disk.
    """

    reason: str
    files: tuple[str, ...] = ()
    strict: bool = False
    saved_ago_s: float = 0.0
    whole: bool = False
    why: str = ""
    force: bool = False
    restores: int | None = None


class Revision:
    """One load of the user's code, and the process that it is in.

    Attributes:
        number: 1, 2, ...
        request: what was asked for.
        plan: how it is done.
        process: its process; set by `run_in`.
        before: the revision whose process it has taken over, when new code was put into that.
        proof: done when it has put out `PROOF_OUTPUTS` valid frames; fails when it fails before that.
        retired: after a switch, set once it has given back all outputs that it owed.
        last_output_s, last_shown_s: presentation time of its newest output, and of the newest input that it
            was shown; -inf before the first.
        forced: code was put into its process without proof.
        unproven: its code was put into its process while no frame came; the first ones will prove or refute it.
        warnings: what the author should know.
        loss: counts the frames that it costs.
        use_before: memory of the process before it.
    """

    process: PipelineProcess

    def __init__(self, number: int, request: LoadRequest, owner: RevisionOwner) -> None:
        self.number = number
        self.request = request
        self.plan = LoadPlan()
        self.before: Revision | None = None
        self.clock = Stopwatch(request.saved_ago_s)
        self.proof: asyncio.Future[None]
        self.expect_proof()
        self.last_output_s = self.last_shown_s = float("-inf")
        self.warnings: list[str] = []
        self.loss = LossWindow()
        self.retired = asyncio.Event()
        self.forced = self.unproven = False
        self.use_before = ProcessUse()
        self._owner = owner

    def run_in(self, process: PipelineProcess) -> None:
        """This process is its own from now on: what it does is told in this revision's name."""
        self.process = process
        process.belong_to(self._on_frame, self._on_message, self._on_exit)

    def take_over(self, before: Revision) -> None:
        """Its code is in the process of the revision before it."""
        # Code that was never proven is taken back before newer code goes in.
        self.before = before.before if before.unproven else before
        self.forced = self.forced or before.forced
        before.before = None  # one step back is all there is
        self.run_in(before.process)

    async def load(
        self,
        params: dict[str, Any],
        snapshot: tuple[SourceFile, ...],
        store: str,
        timeout_s: float,
        *,
        patchable: bool = False,
    ) -> None:
        """Have its process load the code and wait until the pipeline is initialized.

        Raises:
            LoadError: it did not come up.
        """
        self.process.load(params, strict=self.request.strict, store=store, snapshot=snapshot, patchable=patchable)
        loaded = await self.process.ready(timeout_s)
        for name, reason in loaded.dropped.items():
            self.warnings.append(f"parameter '{name}' is not taken over: {reason}")

    def count_output(self) -> None:
        """A valid output is there."""
        self._outputs += 1
        if self._outputs >= PROOF_OUTPUTS:
            self.prove()

    def prove(self) -> None:
        """It has put out what proves it."""
        if not self.proof.done():
            self.proof.set_result(None)

    def disprove(self, report: ErrorReport) -> bool:
        """A frame failed; whether that was before the first valid output."""
        if self.proof.done():
            return False
        self.proof.set_exception(LoadError(report))
        self.proof.exception()  # looked at: nobody may be waiting for it
        return True

    def expect_proof(self) -> None:
        """It has nothing to show yet, also where it was tried in another way before."""
        self.proof = asyncio.get_running_loop().create_future()
        self._outputs = 0

    def refute(self, reason: str) -> None:
        """New code in the running process did not run where it should have; it was taken back."""
        if not self.proof.done():
            self.proof.set_exception(PatchRefused(reason))
            self.proof.exception()

    def succeeded(self, params: dict[str, Any], use: ProcessUse) -> LoadSucceeded:
        """It serves; ends the stopwatch. `use`: memory of its process now."""
        loaded, loss = self.process.loaded, self.loss.result()
        assert loaded is not None
        return LoadSucceeded(
            revision=self.number,
            reason=self.request.reason,
            files=self.request.files,
            restores=self.request.restores,
            plan=self.plan,
            steps=self.clock.finish(),
            total_s=self.clock.elapsed_s,
            forced=self.forced,
            frames_lost=loss.frames,
            output_gap_s=loss.gap_s,
            memory_before_bytes=self.use_before.memory_bytes,
            memory_after_bytes=use.memory_bytes,
            vram_before_bytes=self.use_before.vram_bytes,
            vram_after_bytes=use.vram_bytes,
            sources={file.path: file.digest for file in self.process.snapshot},
            pid=self.process.pid,
            device=loaded.device,
            params=params,
            params_schema=loaded.schema,
            warnings=tuple(self.warnings),
        )

    def failed(self, report: ErrorReport, serving: int | None) -> LoadFailed:
        """It did not come up; ends the stopwatch. `serving`: the revision that goes on."""
        return LoadFailed(
            revision=self.number,
            reason=self.request.reason,
            restores=self.request.restores,
            report=report,
            files=self.request.files,
            serving=serving,
            plan=self.plan,
            steps=self.clock.finish(),
            total_s=self.clock.elapsed_s,
        )

    def exited(self, exit: ProcessExit, *, restarting: bool) -> ProcessExited:
        """It served, and its process has ended by itself."""
        return ProcessExited(
            revision=self.number,
            pid=self.process.pid,
            reason=exit.reason,
            logs=exit.logs,
            restarting=restarting,
            report=exit_report(exit),
        )

    def _on_frame(self, frame: RawFrame, request_id: str) -> None:
        self._owner.on_frame(self, frame, request_id)

    def _on_message(self, message: Message) -> None:
        self._owner.on_message(self, message)

    def _on_exit(self, exit: ProcessExit) -> None:
        self.disprove(exit_report(exit))
        self.retired.set()
        self._owner.on_exit(self, exit)

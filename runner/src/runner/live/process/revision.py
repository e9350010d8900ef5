"""A revision: one attempt to run the user's code, with its process and its stopwatch."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from ..events import LoadFailed, LoadSucceeded, ProcessExited, Step
from ..pipelines.spec import PipelineSpec
from ..report import ErrorReport
from ..trickle.frame import RawFrame
from .messages import Message
from .process import LoadError, PipelineProcess, ProcessExit

# Code that looks back at the frame before this one runs in full from the second frame on.
PROOF_OUTPUTS = 2


class Stopwatch:
    """Times the steps of a load, one after the other."""

    def __init__(self, already_s: float = 0.0) -> None:
        """`already_s`: how long ago it should have been started; becomes the step "notice the save"."""
        self.started_at = time.monotonic() - already_s
        self._step = "notice the save" if already_s else ""
        self._step_at = self.started_at
        self._steps: list[Step] = []

    def enter(self, name: str) -> None:
        """The step before ends and this one begins."""
        now = time.monotonic()
        if self._step:
            self._steps.append(Step(name=self._step, seconds=now - self._step_at))
        self._step, self._step_at = name, now

    def finish(self) -> tuple[Step, ...]:
        """End the step under way; all of them."""
        self.enter("")
        return tuple(self._steps)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_at


def exit_report(exit: ProcessExit) -> ErrorReport:
    """The end of a process, as an error."""
    message = f"the pipeline process {exit.reason}"
    return ErrorReport("process", "ProcessExited", message, traceback="\n".join(exit.logs))


class RevisionOwner(Protocol):
    """Who is told what a revision's process does: the guardian."""

    def on_started(self, revision: Revision) -> None: ...

    def on_frame(self, revision: Revision, frame: RawFrame, request_id: str) -> None: ...

    def on_message(self, revision: Revision, message: Message) -> None: ...

    def on_exit(self, revision: Revision, exit: ProcessExit) -> None: ...


class Revision:
    """One process of a guardian.

    Attributes:
        number: 1, 2, ...
        reason, files: why it was started, and for which saved files.
        process: its process.
        proof: done when it has put out `PROOF_OUTPUTS` valid frames; fails when it fails before that.
        owed: at a switch, outputs that it has not given back yet. retired: they are there.
        last_output_s: presentation time of its newest output, -inf before the first.
        warnings: what the author should know.
    """

    def __init__(
        self,
        number: int,
        spec: PipelineSpec,
        reason: str,
        files: tuple[str, ...],
        owner: RevisionOwner,
        *,
        saved_ago_s: float = 0.0,
        verbose: bool = False,
    ) -> None:
        self.number = number
        self.reason = reason
        self.files = files
        self.clock = Stopwatch(saved_ago_s)
        self.proof: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last_output_s = float("-inf")
        self.warnings: list[str] = []
        self.retired = asyncio.Event()
        self.owed = 0
        self._outputs = 0
        self._owner = owner
        self.process = PipelineProcess(
            spec, on_frame=self._on_frame, on_message=self._on_message, on_exit=self._on_exit, verbose=verbose
        )

    async def load(self, params: dict[str, Any], *, strict: bool, timeout_s: float) -> None:
        """Start the process and wait until the pipeline is initialized.

        Raises:
            LoadError: it did not come up.
        """
        self.clock.enter("start process")
        await self.process.start(params, strict=strict)
        self._owner.on_started(self)
        loaded = await self.process.ready(timeout_s)
        for name, reason in loaded.dropped.items():
            self.warnings.append(f"parameter '{name}' is not taken over: {reason}")

    async def proven(self, timeout_s: float) -> None:
        """Wait for the first valid output.

        Raises:
            LoadError: a frame failed, or nothing came out in time.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self.proof), timeout_s)
        except asyncio.TimeoutError:
            raise LoadError(
                ErrorReport(
                    "frame",
                    "NoOutput",
                    f"no output frame within {timeout_s:.0f} s of the first input",
                    hint="Does get_processed_video_frame (or transform) ever return a frame?",
                    traceback=await self.process.dump_stacks(),
                )
            ) from None

    def prove(self) -> None:
        """A valid output is there."""
        self._outputs += 1
        if self._outputs >= PROOF_OUTPUTS and not self.proof.done():
            self.proof.set_result(None)

    def disprove(self, report: ErrorReport) -> bool:
        """A frame failed; whether that was before the first valid output."""
        if self.proof.done():
            return False
        self.proof.set_exception(LoadError(report))
        self.proof.exception()  # looked at: nobody may be waiting for it
        return True

    def succeeded(self, frames_lost: int) -> LoadSucceeded:
        """It serves; ends the stopwatch."""
        loaded = self.process.loaded
        assert loaded is not None
        return LoadSucceeded(
            revision=self.number,
            reason=self.reason,
            files=self.files,
            steps=self.clock.finish(),
            total_s=self.clock.elapsed_s,
            frames_lost=frames_lost,
            pid=self.process.pid,
            device=loaded.device,
            params=loaded.params,
            params_schema=loaded.schema,
            warnings=tuple(self.warnings),
        )

    def failed(self, report: ErrorReport, serving: int | None) -> LoadFailed:
        """It did not come up; ends the stopwatch. `serving`: the revision that goes on."""
        return LoadFailed(
            revision=self.number,
            reason=self.reason,
            report=report,
            files=self.files,
            serving=serving,
            steps=self.clock.finish(),
            total_s=self.clock.elapsed_s,
        )

    def exited(self, exit: ProcessExit, *, restarting: bool) -> ProcessExited:
        """It served, and its process has ended by itself."""
        return ProcessExited(
            revision=self.number, pid=self.process.pid, reason=exit.reason, logs=exit.logs, restarting=restarting
        )

    def _on_frame(self, frame: RawFrame, request_id: str) -> None:
        self._owner.on_frame(self, frame, request_id)

    def _on_message(self, message: Message) -> None:
        self._owner.on_message(self, message)

    def _on_exit(self, exit: ProcessExit) -> None:
        self.disprove(exit_report(exit))
        self.retired.set()
        self._owner.on_exit(self, exit)

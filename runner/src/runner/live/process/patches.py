"""Patches: changed code put into the running pipeline, and taken back when its first frames fail."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..report import ErrorReport, code_around, report_exception, returning_line
from .channel import ChildChannel
from .messages import CodePatched, CodeProven, CodeUndone, PatchFailed

if TYPE_CHECKING:
    from ..code.patch import CodePatch
    from ..code.source import Sources
    from ..pipelines import Pipeline

# Code that looks back at the frame before this one runs in full from the second frame on.
PROOF_OUTPUTS = 2
PROBATION_OUTPUTS = 30  # until then an exception still takes the code back
_BUSY_LIMIT_S = 0.5  # for changed code that runs right now to come to its end
_BUSY_STEP_S = 0.005


class Patches:
    """What `PatchCode` does in the pipeline process. One at a time; a new one ends the probation of the last.

    Attributes:
        own_tasks: those that call the pipeline for each frame: a call of theirs that is under way soon ends.
    """

    def __init__(self, channel: ChildChannel, sources: Sources, pipeline: Pipeline) -> None:
        self._channel = channel
        self._sources = sources
        self._pipeline = pipeline
        self.own_tasks: tuple[asyncio.Task[None], ...] = ()
        self._patch: CodePatch | None = None  # on probation
        self._number = 0
        self._outputs = 0
        self._first: int | None = None  # pts of the first frame that went into the new code

    async def apply(self, number: int) -> bool:
        """Put the code that is on disk into the pipeline and answer the host; whether anything is new."""
        patch = await self._planned(number)
        if patch is None:
            return False
        try:
            await patch.apply()
        except Exception as error:  # a new statement's, or the reload hook's
            self._channel.send(PatchFailed(number, report=self._report(error)))
            return False
        self._channel.send(CodePatched(number, patch.changed, patch.empty))
        if patch.empty:  # what is on disk is what runs, and has run before
            self._channel.send(CodeProven(number))
            return False
        self._patch, self._number, self._outputs, self._first = patch, number, 0, None
        return True

    async def _planned(self, number: int) -> CodePatch | None:
        """What is to be done; None where the host has been told why it cannot be."""
        from ..code.refusal import PatchRefused

        try:
            return await self._plan()
        except SyntaxError as error:
            self._channel.send(PatchFailed(number, report=self._report(error)))
        except PatchRefused as refused:
            self._channel.send(PatchFailed(number, refused=str(refused)))
        except Exception as error:  # ours; a fresh process can do it all the same
            logging.exception("changed code could not be compared with what runs")
            self._channel.send(PatchFailed(number, refused=f"it could not be compared ({type(error).__name__})"))
        return None

    def _report(self, error: Exception) -> ErrorReport:
        with self._sources.showing_disk():
            return report_exception(error, "import")

    async def _plan(self) -> CodePatch:
        """Wait a moment for changed code that is running right now: most of it is about to end."""
        from ..code.patch import plan_patch
        from ..code.refusal import PatchBusy

        deadline = asyncio.get_running_loop().time() + _BUSY_LIMIT_S
        while True:
            try:
                return plan_patch(self._sources, self._pipeline, self.own_tasks)
            except PatchBusy:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_BUSY_STEP_S)

    def frame_taken(self, pts: int) -> None:
        """This frame goes into the pipeline next."""
        if self._patch is not None and self._first is None:
            self._first = pts

    def output_sent(self, pts: int) -> None:
        """A valid output has left."""
        if self._patch is None or self._first is None or pts < self._first:
            return
        self._outputs += 1
        if self._outputs == PROOF_OUTPUTS:
            self._channel.send(CodeProven(self._number))
        if self._outputs >= PROBATION_OUTPUTS:
            self._patch = None

    def failed(self, error: Exception) -> bool:
        """A frame has failed. True: that was new code, and the code before it is in force again."""
        if self._patch is None or self._first is None:
            return False
        patch, self._patch = self._patch, None
        report = output_report(error, self._pipeline)
        try:
            patch.undo()
        except Exception:
            logging.exception("the code could not be put back")
            return False
        self._channel.send(CodeUndone(self._number, report))
        return True


def output_report(error: Exception, pipeline: Any) -> ErrorReport:
    """An output that is no frame has no traceback into user code: point at where it was returned."""
    from .tensor import OutputError

    report = report_exception(error, "frame")
    if report.file or not isinstance(error, OutputError):
        return report
    file, line = returning_line(getattr(pipeline, "target", None) or type(pipeline).get_processed_video_frame)
    return replace(report, file=file, line=line, code=code_around(file, line))

"""Patches: changed code put into the running pipeline, watched on its first frames, and taken back when they say so."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..report import ErrorReport, code_around, report_exception, returning_line
from .channel import ChildChannel
from .messages import CodePatched, CodeProven, CodeRefuted, CodeUndone, PatchCode, PatchFailed

if TYPE_CHECKING:
    from ..code.observation import Observation
    from ..code.patch import CodePatch
    from ..code.source import Sources
    from ..pipelines import Pipeline
    from .user_code import UserCode

PROBATION_OUTPUTS = 30  # until then an exception takes the new code back
_QUEUED_IDLE = 2  # outputs, of a pipeline that is not a transform and may have a queue of its own
# Changed code that runs at the exchange gets half a second to end; frames go on meanwhile.
_BUSY_TRIES = 100
_BUSY_STEP_S = 0.005


class Patches:
    """Part of `PatchCode` that is done in the pipeline process. A newer patch replaces one that is not proven.

    Args:
        ready: called on the loop when a patch is planned; `exchange` is due between two frames.
        changed: called when other code is in force.
        apply_params: applies the params in force once more; some changed code runs only then.

    Attributes:
        own_tasks: those that call the pipeline for each frame: a call of theirs that waits inside changed code uses the
            new one the next time.
        params_kept: whether the params are those that the process was loaded with.
    """

    def __init__(
        self,
        channel: ChildChannel,
        sources: Sources,
        pipeline: Pipeline,
        ready: Callable[[], None],
        changed: Callable[[], None],
        apply_params: Callable[[dict[str, tuple[Any, Any]]], Coroutine[Any, Any, None]],
        user_code: UserCode,
    ) -> None:
        self.own_tasks: tuple[asyncio.Task[None], ...] = ()
        self.params_kept = True
        self._channel = channel
        self._sources = sources
        self._pipeline = pipeline
        self._ready = ready
        self._changed = changed
        self._apply_params = apply_params
        self._user_code = user_code
        self._number = 0
        self._tries = 0
        self._planned: CodePatch | None = None
        self._patch: CodePatch | None = None  # in force, on probation
        self._watch: Observation | None = None  # until it is proven
        self._restoring: asyncio.Future[None] | None = None  # of the params, at a way back
        self._frames = 0  # that went into the new code
        self._outputs = 0

    # ---- planning, next to the frames ------------------------------------------------------

    def plan(self, message: PatchCode) -> None:
        """Start to find out what to do about the code that is on disk, on a thread of its own."""
        self._forget_plan()
        if self._watch is not None:  # not proven: the new plan starts from the code before it
            self._take_back()
        self._end_probation()
        self._number = message.number
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._plan, args=(message, loop), name="patch", daemon=True).start()

    def _plan(self, message: PatchCode, loop: asyncio.AbstractEventLoop) -> None:
        from ..code.plan import plan_patch

        try:
            patch = plan_patch(
                self._sources, self._pipeline, files=message.files, force=message.force, trusted=message.trusted
            )
            answer: CodePatch | PatchFailed = patch
        except Exception as error:
            answer = self._failure(message.number, error)
        with suppress(RuntimeError):  # the process is ending
            loop.call_soon_threadsafe(self._plan_done, message.number, answer)

    def _plan_done(self, number: int, answer: CodePatch | PatchFailed) -> None:
        if number != self._number:
            return
        if isinstance(answer, PatchFailed):
            self._channel.send(answer)
        else:
            self._planned = answer
            self._ready()

    def _failure(self, number: int, error: Exception) -> PatchFailed:
        """Report why nothing was changed."""
        from ..code.refusal import PatchRefused

        if isinstance(error, PatchRefused):
            return PatchFailed(number, refused=str(error))
        if isinstance(error, SyntaxError):
            return PatchFailed(number, report=self._report(error))
        logging.error("changed code could not be compared with the code that runs", exc_info=error)
        return PatchFailed(number, refused=f"it could not be compared ({type(error).__name__})")

    def _report(self, error: Exception) -> ErrorReport:
        with self._sources.showing_disk():
            return report_exception(error, "import")

    # ---- the exchange, between two frames --------------------------------------------------

    async def exchange(self) -> None:
        """Put the planned code in and answer the host."""
        from ..code.refusal import PatchBusy, PatchRefused

        patch, self._planned, number = self._planned, None, self._number
        if patch is None:
            return
        try:
            with self._user_code:  # new statements and the reload hook
                await patch.exchange([task.get_coro() for task in self.own_tasks])
        except PatchRefused as refused:
            if not isinstance(refused, PatchBusy) or not self._try_again(patch):
                self._channel.send(PatchFailed(number, refused=str(refused)))
            return
        except Exception as error:  # from a new statement or the reload hook
            self._channel.send(PatchFailed(number, report=self._report(error)))
            return
        self._changed()  # first, so that the host knows the sources of what the next message announces
        self._channel.send(CodePatched(number, patch.changed, patch.empty, patch.forced))
        try:
            await self._start_watching(patch)
        except Exception as error:  # from update_params
            self.failed(error)

    def _try_again(self, patch: CodePatch) -> bool:
        """Changed code is running: most of it ends soon, and frames need not wait for that. False: it took too long."""
        self._tries += 1
        if self._tries > _BUSY_TRIES:
            return False
        self._planned = patch
        asyncio.get_running_loop().call_later(_BUSY_STEP_S, self._ready)
        return True

    async def _start_watching(self, patch: CodePatch) -> None:
        from ..code.observation import Observation

        self._patch, self._frames, self._outputs = patch, 0, 0
        self._watch = Observation(patch.marks, params_kept=lambda: self.params_kept, idle=self._idle_limit())
        if patch.for_params or patch.new_defaults:
            await self._apply_params(patch.new_defaults)
            self._watch.count_all()
        if not patch.marks:  # nothing of it runs on frames
            self._prove()

    def _idle_limit(self) -> int:
        """Outputs in a row before which the pipeline may have done nothing: see `Observation`."""
        batch = getattr(self._pipeline, "_batch_size", None)
        return _QUEUED_IDLE if batch is None else int(batch) - 1

    def _prove(self) -> None:
        assert self._patch is not None
        self._watch = None
        self._patch.settle()
        self._channel.send(CodeProven(self._number))

    def drop(self, number: int) -> None:
        """The host has given up this patch. It may be in force and proven by now, and goes all the same."""
        if number != self._number:
            return
        self._forget_plan()
        self._take_back()

    def _forget_plan(self) -> None:
        self._number, self._planned, self._tries = 0, None, 0

    def _take_back(self) -> bool:
        """Put the code before back in force; whether that worked."""
        patch, self._patch, self._watch = self._patch, None, None
        if patch is None:
            return False
        try:
            patch.undo()
        except Exception:
            logging.exception("the code before could not be restored")
            return False
        patch.release()
        self._changed()
        if patch.new_defaults:
            back = {name: (new, old) for name, (old, new) in patch.new_defaults.items()}
            self._restoring = asyncio.ensure_future(self._apply_params(back))
        return True

    # ---- frames ----------------------------------------------------------------------------

    def frame_taken(self, pts: int) -> None:
        """A frame goes into the pipeline next."""
        if self._patch is not None:
            self._frames += 1
            if self._watch is not None:
                self._watch.fed(pts)

    def output_sent(self, pts: int) -> None:
        """A valid output has left."""
        if self._patch is None or not self._frames:
            return
        self._outputs += 1
        verdict = self._watch.output(pts) if self._watch is not None else "open"
        if verdict == "proven":
            self._prove()
        elif verdict == "refuted":
            assert self._watch is not None
            answer = CodeRefuted(self._number, self._watch.reason, self._frames)
            self._take_back()
            self._channel.send(answer)
        elif self._outputs >= PROBATION_OUTPUTS and self._watch is None:
            self._end_probation()

    def _end_probation(self) -> None:
        if self._patch is not None:
            self._patch.release()
            self._patch = None

    def failed(self, error: Exception) -> bool:
        """A frame failed. True: in new code, and the code before it is in force again."""
        if self._patch is None:
            return False
        report = output_report(error, self._pipeline)
        number = self._number
        if not self._take_back():
            return False
        self._channel.send(CodeUndone(number, report))
        return True


def output_report(error: Exception, pipeline: Any) -> ErrorReport:
    """An output that is no frame has no traceback into user code: point at where it was returned."""
    from .tensor import OutputError

    report = report_exception(error, "frame")
    if report.file or not isinstance(error, OutputError):
        return report
    file, line = returning_line(getattr(pipeline, "target", None) or type(pipeline).get_processed_video_frame)
    return replace(report, file=file, line=line, code=code_around(file, line))

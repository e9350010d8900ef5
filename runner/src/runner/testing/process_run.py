"""ProcessRun: a pipeline in a pipeline process of its own, and what is left when that has ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil

from ..live.pipelines import PipelineSpec
from ..live.process.exit import ProcessExit
from ..live.process.messages import FrameFailed, Message
from ..live.process.process import PipelineProcess
from ..live.trickle.frame import RawFrame

REQUEST = "a request"
_QUIET_S = 5.0  # without an output after the last input, nothing more comes


class ProcessRun:
    """A running process.

    Attributes:
        given: its outputs so far. failures: what it has told of exceptions, as text.
    """

    def __init__(self, spec: PipelineSpec, patience_s: float) -> None:
        self.given: list[RawFrame] = []
        self.failures: list[str] = []
        self._patience_s = patience_s
        self._more = asyncio.Event()
        self.process = PipelineProcess(spec, on_frame=self._took, on_message=self._heard)

    async def feed(self, frames: Iterable[RawFrame], expected: int | None) -> None:
        """Give it frames, none of which is dropped, and wait for what comes of them.

        Args:
            expected: so many outputs; None: until nothing has come for a while.
        """
        already = len(self.given)
        for frame in frames:
            await self.process.send(frame, REQUEST)
        # A pipeline that holds some back, or gives fewer, would be waited for in vain: its count is known.
        draining = asyncio.create_task(self.process.drain(_QUIET_S if expected is None else self._patience_s))
        draining.add_done_callback(lambda _: self._more.set())
        try:
            while not draining.done() and (expected is None or len(self.given) < already + expected):
                self._more.clear()
                await self._more.wait()
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    def _took(self, frame: RawFrame, _request_id: str) -> None:
        self.given.append(replace(frame, pixels=frame.pixels.copy()))
        frame.release()
        self._more.set()

    def _heard(self, message: Message) -> None:
        if isinstance(message, FrameFailed):
            self.failures.append(message.report.traceback or message.report.headline)


@asynccontextmanager
async def process_run(spec: PipelineSpec, patience_s: float) -> AsyncIterator[ProcessRun]:
    """A process whose pipeline is ready; ended afterwards.

    Raises:
        LoadError: the pipeline does not load there.
        AssertionError: the process did not end by itself, or left something behind.
    """
    run = ProcessRun(spec, patience_s)
    await run.process.start(spec.initial_params)
    try:
        await run.process.ready(patience_s)
        run.process.open_stream(REQUEST)
        yield run
    except BaseException:
        await run.process.stop()
        raise
    left = Leavings(run.process.pid)
    ended = await run.process.stop(patience_s)
    assert ended.code == 0, f"the pipeline process did not end by itself: {_told(ended)}"
    assert (found := await left.after(patience_s)) == [], f"left behind by the pipeline process: {', '.join(found)}"


class Leavings:
    """What a process uses that could outlive it: the processes below it, and shared memory with a name (Linux)."""

    def __init__(self, pid: int) -> None:
        """Note what there is now."""
        self._below = psutil.Process(pid).children(recursive=True)
        self._segments = _segments(pid).union(*(_segments(child.pid) for child in self._below))

    async def after(self, patience_s: float) -> list[str]:
        """What of it is still there, once it had time to go."""
        _, alive = await asyncio.to_thread(psutil.wait_procs, self._below, timeout=patience_s)
        processes = [f"process {process.pid}" for process in alive]
        return processes + sorted(name for name in self._segments if os.path.exists(name))


def _segments(pid: int) -> set[str]:
    """Paths of the shared memory that a process has mapped."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/dev/shm/" in line}
    except OSError:  # it has just ended, or there is no such file on this system
        return set()
    return {path for path in paths if not path.endswith("(deleted)")}


def _told(ended: ProcessExit) -> str:
    return "\n".join([ended.reason, *ended.logs[-10:]])

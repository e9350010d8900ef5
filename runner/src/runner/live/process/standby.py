"""Standby: a process that has done the third-party imports and waits, so that a reload need not.

On Linux it is a template, which forks a process for each reload: it shares its memory with what it
forks, and the next one is there a few milliseconds after the last was taken. Where forking is not safe
(another system, CUDA in use after the imports, threads that an import has left running) it is a spawned
process that has done the imports itself and is used up by a reload. Both are measured in
docs/measurements.md.

Either way one *spare* is ready: a process that has started, and waits to be told what to load. It has
not imported any of the user's files and has not touched the GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal

from ...errors import ProcessError
from ..events import Event, StandbyChanged
from ..pipelines.spec import PipelineSpec
from ..trickle.frame import RawFrame
from .exit import ProcessExit
from .launch import Orphans, can_adopt, stop_adopting
from .memory import Gauge
from .messages import Message
from .process import PipelineProcess
from .template import Template

WARM_LIMIT_S = 300.0
RETRY_S = 10.0  # after memory was short
LONGEST_RETRY_S = 15.0  # after failures; the first is made good at once, then the wait doubles

Kind = Literal["", "fork", "spawn"]


class Standby:
    """Keeps one process ready for the next reload.

    Attributes:
        on: whether one is wanted.
        told: the latest that was told of it.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        emit: Callable[[Event], None],
        *,
        on: bool,
        reserve_bytes: int,
        gauge: Gauge,
        kind: Kind = "",
        verbose: bool = False,
    ) -> None:
        """A standby that is not kept yet: see `start`, `learn` and `renew`.

        Args:
            reserve_bytes: RAM that must stay free. gauge: says how much is.
            kind: "fork" or "spawn"; "" finds out which is safe.
        """
        self.on = on
        self.told = StandbyChanged(state="off")
        self._spec = spec
        self._emit = emit
        self._reserve_bytes = reserve_bytes
        self._gauge = gauge
        self._verbose = verbose
        self._kind = kind
        self._orphans = Orphans()
        self._modules: tuple[str, ...] = ()  # to be imported
        self._imported: frozenset[str] = frozenset()  # by the template
        self._template: Template | None = None
        self._spare: PipelineProcess | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._drops = 0  # what is being made ready when it is dropped must not be kept
        self._retry_at = 0.0
        self._closed = False
        self._exits: set[asyncio.Task[Any]] = set()  # of processes that were killed

    # ---- what the guardian calls -----------------------------------------------------------

    def start(self) -> None:
        """Begin to keep one; on the event loop."""
        self._task = asyncio.create_task(self._keep())

    def learn(self, modules: tuple[str, ...]) -> None:
        """These are what a pipeline process imports besides the user's own files. See `renew`."""
        self._modules = modules

    def renew(self) -> None:
        """Have one ready again, now that nothing more urgent is under way."""
        self._wake.set()

    @property
    def pids(self) -> list[int]:
        """Of the processes that it consists of."""
        return [process.pid for process in (self._template, self._spare) if process is not None]

    def switch(self, on: bool) -> None:
        """Keep one from now on, or none."""
        self.on = on
        self._failures, self._retry_at = 0, 0.0
        if not on:
            self._drop()
            self._tell(StandbyChanged(state="off"))
        self._wake.set()

    def forget(self) -> None:
        """What it has imported may be another version on disk by now: begin anew at the next `renew`."""
        if self.told.state in ("warming", "ready"):
            self._drop()
            self._tell(StandbyChanged(state="warming", kind=self._kind))

    async def take(self) -> tuple[PipelineProcess, Kind] | None:
        """A process that has started and waits to be told what to load; None if none is ready."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.exit is None and spare.is_warm:
            return spare, self._kind
        if spare is not None:
            self._end(spare)
        # Taken twice in a row: a template forks another one in a moment, unless it is busy importing.
        if self.on and self.told.state == "ready" and self._template is not None:
            with contextlib.suppress(ProcessError, OSError):
                return await self._fork(), "fork"
        return None

    def check(self) -> None:
        """Drop it if memory is short by now, or try again what has failed. To be called every second or so."""
        if self._kind == "fork":
            self._orphans.reap()
        if self.on and self.told.state in ("warming", "ready") and self._is_short():
            self._drop_for_memory()
        elif self.told.state == "dropped":
            self._wake.set()

    async def close(self) -> None:
        """End it, and wait until its processes have exited. Safe to call twice."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._drop()
        await asyncio.gather(*self._exits)
        stop_adopting()

    def kill(self) -> None:
        """SIGKILL to all that it has started. From any thread."""
        for process in (self._spare, self._template):
            if process is not None:
                process.kill()

    # ---- keeping one -----------------------------------------------------------------------

    async def _keep(self) -> None:
        while not self._closed:  # a cancellation may be swallowed (see `runner.time_limit`)
            await self._wake.wait()
            self._wake.clear()
            if not self.on or not self._modules or time.monotonic() < self._retry_at:
                continue
            if self._is_short():
                self._drop_for_memory()
                continue
            drops = self._drops
            try:
                await self._prepare()
            except (ProcessError, OSError) as error:
                if self._drops == drops:
                    self._failed(str(error))
                else:  # whoever dropped it has told why
                    self._wake.set()

    async def _prepare(self) -> None:
        """Have a template where forking works, and a spare in any case.

        Raises:
            ProcessError, OSError: that did not work, or it was dropped meanwhile.
        """
        if self._kind != "spawn" and not can_adopt():
            self._kind = "spawn"
        self._kind = self._kind or "fork"
        if self._kind == "fork" and not self._imported.issuperset(self._modules):
            await self._prepare_template()
        if self._spare is None or self._spare.exit is not None:
            drops = self._drops
            if self.told.state != "ready":
                self._tell(StandbyChanged(state="warming", kind=self._kind))
            spare = await (self._fork() if self._kind == "fork" else self._spawn())
            if self._drops != drops:
                self._end(spare)
                raise ProcessError("it was dropped meanwhile")
            self._spare = spare
            # What it imports in a fork it has already: this only runs the conversions once.
            await spare.warm(self._modules if self._kind == "spawn" else (), WARM_LIMIT_S)
        if self._spare is not None and self._spare.exit is None:
            await self._tell_ready()

    async def _prepare_template(self) -> None:
        """One that has imported all there is to import, or the knowledge that forking is not safe."""
        modules = self._modules
        self._tell(StandbyChanged(state="warming", kind="fork"))
        if self._template is None:
            self._template = Template()
            ended = partial(self._template_ended, self._template)
            await self._template.start(ended, verbose=self._verbose)
        template = self._template
        if template is None:
            raise ProcessError("it was dropped meanwhile")
        preloaded = await template.preload(modules)
        if self._template is not template:
            raise ProcessError("it was dropped meanwhile")
        if self._spare is not None:  # forked before these imports
            self._end(self._spare)
            self._spare = None
        self._imported = frozenset(modules)
        if not preloaded.forks:
            self._kind, self._template = "spawn", None
            self._end(template)

    async def _fork(self) -> PipelineProcess:
        assert self._template is not None
        process = self._new_process()
        return await self._whole(process, process.connect(*await self._template.fork(verbose=self._verbose)))

    async def _spawn(self) -> PipelineProcess:
        process = self._new_process()
        return await self._whole(process, process.launch())

    async def _whole(self, process: PipelineProcess, birth: Coroutine[Any, Any, None]) -> PipelineProcess:
        """The process once it is there; where that is cut off (a newer save came), nobody else would end it."""
        try:
            await birth
        except BaseException:
            self._end(process)
            raise
        return process

    def _new_process(self) -> PipelineProcess:
        return PipelineProcess(
            self._spec, on_frame=_no_frame, on_message=_no_message, on_exit=self._spare_ended, verbose=self._verbose
        )

    def _spare_ended(self, exit: ProcessExit) -> None:
        if self._spare is not None and self._spare.exit is exit:
            self._spare = None
            self._failed(f"the waiting process {exit.reason}")

    def _template_ended(self, template: Template, reason: str) -> None:
        if self._template is template and not self._closed:
            self._failed(f"the template {reason}")

    # ---- dropping --------------------------------------------------------------------------

    def _failed(self, reason: str) -> None:
        self._failures += 1
        wait_s = min(LONGEST_RETRY_S, float(2 ** (self._failures - 1))) if self._failures > 1 else 0.0
        self._retry_at = time.monotonic() + wait_s
        self._drop()
        self._tell(StandbyChanged(state="dropped", reason=reason))
        self._wake.set()

    def _drop(self) -> None:
        spare, self._spare = self._spare, None
        template, self._template = self._template, None
        self._imported = frozenset()
        self._drops += 1
        for process in (spare, template):
            if process is not None:
                self._end(process)

    def _end(self, process: PipelineProcess | Template) -> None:
        """Kill it at once; `close` waits for its exit."""
        process.kill()
        exit: asyncio.Task[Any] = asyncio.create_task(process.stop())
        self._exits.add(exit)
        exit.add_done_callback(self._exits.discard)

    def _is_short(self) -> bool:
        return self._gauge.free_ram() < self._reserve_bytes + (self._needs_bytes() if self._spare is None else 0)

    def _needs_bytes(self) -> int:
        """What one is expected to use: what the last one did."""
        return self.told.memory_bytes

    def _drop_for_memory(self) -> None:
        free, memory = self._gauge.free_ram(), self.told.memory_bytes
        self._drop()
        self._retry_at = time.monotonic() + RETRY_S
        reason = f"{free / 2**20:.0f} MiB of RAM are free, {self._reserve_bytes / 2**20:.0f} MiB are to stay free"
        if self.told.state != "dropped":
            self._tell(StandbyChanged(state="dropped", kind=self._kind, memory_bytes=memory, reason=reason))

    async def _tell_ready(self) -> None:
        self._failures = 0
        pids = self.pids
        memory = await asyncio.to_thread(lambda: sum(map(self._gauge.proportional, pids)))
        if self._spare is None and self._template is None:
            return  # dropped meanwhile
        self._tell(StandbyChanged(state="ready", kind=self._kind, memory_bytes=memory, modules=len(self._modules)))

    def _tell(self, event: StandbyChanged) -> None:
        self.told = event
        self._emit(event)


def _no_frame(frame: RawFrame, _request_id: str) -> None:
    frame.release()


def _no_message(_message: Message) -> None:
    """It has nothing to tell before it is told what to load."""

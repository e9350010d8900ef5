"""A guardian with real processes, what it told, and what came out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from runner.live.events import Event
from runner.live.pipelines import PipelineSpec
from runner.live.process.guardian import ProcessGuardian
from runner.live.process.memory import Gauge
from runner.live.process.policy import PLAIN_RELOADS, STUDIO, ReloadOptions, RestartPolicy
from runner.live.trickle import RawFrame

from ..conftest import raw_frame

QUICK = replace(STUDIO, backoff_s=0.0)
E = TypeVar("E")


class Guarded:
    """A guardian, what it told, and what came out."""

    def __init__(
        self,
        spec: PipelineSpec,
        policy: RestartPolicy,
        options: ReloadOptions = PLAIN_RELOADS,
        gauge: Gauge | None = None,
    ) -> None:
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event], None]] = []
        self.outputs: list[RawFrame] = []
        self.values: list[int] = []
        self.sent = 0
        self._there = asyncio.Event()
        self.guardian = ProcessGuardian(spec, policy, self._hear, options=options, gauge=gauge)
        self._tasks = [asyncio.create_task(self._collect())]

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for listener in self.listeners:
            listener(event)
        self._there.set()

    async def _collect(self) -> None:
        while True:
            self._take(await self.guardian.board.outputs.next())

    def _take(self, frame: RawFrame) -> None:
        """Note a frame; keep nothing of it, since its pixels are a view of memory that has to go with its process."""
        self.outputs.append(replace(frame, pixels=frame.pixels[:0].copy()))
        self.values.append(int(frame.pixels[0, 0, 0]))
        frame.release()
        self._there.set()

    def stream(self, fps: float = 15.0) -> None:
        """Offer numbered frames from now on.

        Slowly: depth is one, so a machine that is busy elsewhere for two frame intervals loses a frame,
        and that is not what is tested here (test_loss.py and benchmarks/reload.py count at 30 fps).
        """
        self.guardian.open_stream("s1")
        self._tasks.append(asyncio.create_task(self._offer(fps)))

    def hold(self) -> None:
        """The source is held."""
        self.guardian.pause(True)

    async def _offer(self, fps: float) -> None:
        while not self.guardian.board.paused:
            self.guardian.board.offer(raw_frame(self.sent))
            self.sent += 1
            await asyncio.sleep(1 / fps)

    def limit(self, **limits: float) -> None:
        """Be impatient with the loads that follow: `load_timeout_s`, `first_frame_timeout_s`; none given: patient again.

        A first load imports torch, which takes long where the machine is busy, and no test is about that.
        """
        self.guardian.loads._policy = replace(QUICK, **limits)

    def missing(self) -> int:
        """Inputs that have neither come out nor been counted as dropped."""
        return self.sent - len(self.outputs) - sum(self.guardian.board.drops().values())

    def gaps(self) -> int:
        """Pictures missing between the first and the last that came out; a busy machine drops some, and counts them."""
        pts = [frame.pts for frame in self.outputs]
        return pts[-1] - pts[0] + 1 - len(pts)

    async def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        async def wait() -> None:
            while not condition():
                self._there.clear()
                await self._there.wait()

        await asyncio.wait_for(wait(), timeout_s)

    async def next(self, kind: type[E], timeout_s: float = 60.0) -> E:
        """The next event of a kind after this call."""
        known = len(self.events)
        await self.until(lambda: any(isinstance(event, kind) for event in self.events[known:]), timeout_s)
        return next(event for event in self.events[known:] if isinstance(event, kind))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.guardian.close()


@asynccontextmanager
async def guarded(
    path: str, policy: RestartPolicy = QUICK, options: ReloadOptions = PLAIN_RELOADS, gauge: Gauge | None = None
) -> AsyncIterator[Guarded]:
    run = Guarded(PipelineSpec(pipeline_cls=path), policy, options, gauge)
    run.guardian.start()
    try:
        yield run
    finally:
        await run.close()

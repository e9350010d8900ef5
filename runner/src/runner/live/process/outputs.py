"""Outputs: what a guardian passes on, from whichever process it comes: in order, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..trickle.frame import RawFrame

if TYPE_CHECKING:
    from .revision import Revision

FPS_WINDOW_S = 2.0


class FrameRate:
    """Frames per second over the latest `FPS_WINDOW_S`.

    Attributes:
        count: of all frames. last: when the newest came (monotonic seconds), None before the first.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.count = 0
        self.last: float | None = None

    def tick(self) -> None:
        """One frame, now."""
        self.last = time.monotonic()
        self.count += 1
        self._times.append(self.last)
        self._forget()

    @property
    def fps(self) -> float:
        self._forget()
        if len(self._times) < 2:
            return 0.0
        span = max(time.monotonic() - self._times[0], 1e-3)
        return (len(self._times) - 1) / span

    def _forget(self) -> None:
        oldest = time.monotonic() - FPS_WINDOW_S
        while self._times and self._times[0] < oldest:
            self._times.popleft()


class Outputs:
    """The outputs of one stream after the other.

    Attributes:
        rate: of what was passed on in this stream.
        dropped: reason -> outputs of this stream that were not.
        retiring: the revision that was replaced, for as long as its last outputs are waited for.
        boundary_s: presentation time of the last input that is the retiring revision's to answer.
    """

    def __init__(self, on_output: Callable[[RawFrame], None] = lambda _: None) -> None:
        """`on_output`: gets every output as it is fetched; keeps nothing of it."""
        self._on_output = on_output
        self.rate = FrameRate()
        self.retiring: Revision | None = None
        self.boundary_s = float("-inf")
        self._serving: Revision | None = None
        self.dropped: Counter[str] = Counter()
        self._last_s = float("-inf")
        self._held: list[RawFrame] = []
        self._waiting: deque[RawFrame] = deque()
        self._there = asyncio.Event()

    def begin(self) -> None:
        """Start a stream: forget the outputs and the counts of the one before."""
        self.clear()
        self.rate, self.dropped = FrameRate(), Counter()
        self._last_s = self.boundary_s = float("-inf")

    def switch(self, revision: Revision | None, replaced: Revision | None, boundary_s: float) -> None:
        """`revision` answers the inputs after `boundary_s`; the one it replaces, if any, still those up to it."""
        self._serving, self.retiring, self.boundary_s = revision, replaced, boundary_s

    def rename(self, revision: Revision) -> None:
        """The serving process counts as this revision now."""
        self._serving = revision

    def switched(self) -> None:
        """Nothing of the retiring revision is waited for any more."""
        self.retiring = None
        held, self._held = self._held, []
        for frame in held:
            self.put(frame)

    def route(self, revision: Revision, frame: RawFrame) -> None:
        """Pass on an output, or not, by whose it is."""
        if revision is self.retiring:
            self._put_owed(revision, frame)
        elif revision is not self._serving or frame.time_s <= self.boundary_s:
            frame.release()  # a replacement, shown frames that the serving one answers
        elif self.retiring is not None:
            self._held.append(frame)  # it must not overtake what the retiring one still owes
        else:
            self.put(frame)

    def _put_owed(self, revision: Revision, frame: RawFrame) -> None:
        """An output of the revision that was replaced: its own inputs still count, later ones do not."""
        if frame.time_s >= self.boundary_s:
            revision.retired.set()
        if frame.time_s > self.boundary_s:
            frame.release()
            return
        self.put(frame)

    def put(self, frame: RawFrame) -> None:
        """Pass it on, unless a later one already was.

        None is dropped for want of a sink that is fast enough: a process waits with further ones while its slots are
        in use, and gets no input meanwhile.
        """
        if frame.time_s <= self._last_s:
            self.dropped["out of order"] += 1
            frame.release()
            return
        self._last_s = frame.time_s
        self.rate.tick()
        self._waiting.append(frame)
        self._there.set()

    def rewind(self) -> None:
        """Frames may come again that came before (the source is held, and the pipeline has changed)."""
        self._last_s = self.boundary_s = float("-inf")

    async def next(self) -> RawFrame:
        """Wait for the next one. `release` it when done."""
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        frame = self._waiting.popleft()
        self._on_output(frame)
        return frame

    @property
    def waiting(self) -> int:
        """How many have not been fetched yet."""
        return len(self._waiting)

    def clear(self) -> None:
        """Throw away what was not fetched."""
        for frame in (*self._waiting, *self._held):
            frame.release()
        self._waiting.clear()
        self._held.clear()

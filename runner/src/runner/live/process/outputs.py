"""Outputs: what a guardian passes on, from whichever process it comes: in order, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from ..trickle.frame import RawFrame

FPS_WINDOW_S = 2.0
OUTPUTS_WAITING = 3  # that nobody has fetched; then the oldest gives way


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
    """

    def __init__(self) -> None:
        self.rate = FrameRate()
        self.dropped: Counter[str] = Counter()
        self._lossless = False
        self._last_s = float("-inf")
        self._held: list[RawFrame] = []
        self._waiting: deque[RawFrame] = deque()
        self._there = asyncio.Event()

    def begin(self, *, lossless: bool) -> None:
        """A stream begins. `lossless`: nothing gives way to what comes later."""
        self.clear()
        self.rate, self.dropped, self._lossless = FrameRate(), Counter(), lossless
        self._last_s = float("-inf")

    def put(self, frame: RawFrame) -> None:
        """Pass it on, unless a later one already was."""
        if frame.time_s <= self._last_s:
            self.dropped["out of order"] += 1
            frame.release()
            return
        self._last_s = frame.time_s
        self.rate.tick()
        self._waiting.append(frame)
        if len(self._waiting) > OUTPUTS_WAITING and not self._lossless:
            self.dropped["sink"] += 1
            self._waiting.popleft().release()
        self._there.set()

    def hold(self, frame: RawFrame) -> None:
        """Keep it back until `release_held`: earlier ones may still come."""
        self._held.append(frame)

    def release_held(self) -> None:
        """Pass on what was held back."""
        held, self._held = self._held, []
        for frame in held:
            self.put(frame)

    async def next(self) -> RawFrame:
        """Wait for the next one. `release` it when done."""
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        return self._waiting.popleft()

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

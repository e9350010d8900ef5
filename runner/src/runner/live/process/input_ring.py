"""InputRing: the host's side of the frames into one pipeline process."""

from __future__ import annotations

import time
from collections import deque

from ..trickle.frame import RawFrame
from .messages import FrameSent, FrameTaken, RingOpened
from .ring import FrameRing

WAITING_AT_EXCHANGE = 4  # frames that may wait while new code goes into the pipeline
# One in the pipeline, those that wait, one to spare while rings change. The free slot used last is used first, so that
# memory of the others is not touched.
INPUT_SLOTS = WAITING_AT_EXCHANGE + 2


class InputRing:
    """Slots for the frames into a process, and the frames that wait.

    Attributes:
        announce: a ring that the process has not been told of yet.
        waiting: frames that are next once the pipeline has room, with their presentation times in seconds.
        limit: for how many may wait; above it the oldest is dropped.
    """

    def __init__(self) -> None:
        self.announce: RingOpened | None = None
        self.waiting: deque[tuple[FrameSent, float]] = deque()
        self.limit = 1
        self._ring: FrameRing | None = None
        self._retired: list[FrameRing] = []
        self._number = 0
        self._free: list[int] = []

    def wait(self, frame: RawFrame, request_id: str) -> int:
        """Let a frame wait; return how many older ones were dropped for it."""
        superseded = 0
        while len(self.waiting) >= self.limit:
            message, _ = self.waiting.popleft()
            self.free(FrameTaken(message.ring, message.slot))
            superseded += 1
        self.waiting.append((self.write(frame, request_id), frame.time_s))
        return superseded

    def write(self, frame: RawFrame, request_id: str) -> FrameSent:
        """Copy a frame into a free slot."""
        height, width = frame.pixels.shape[:2]
        if self._ring is None or not self._ring.fits(width, height):
            self._open(width, height)
        assert self._ring is not None
        slot = self._free.pop()
        frame.stamps["queued"] = time.monotonic_ns()
        self._ring.write(slot, frame)
        return FrameSent(self._number, slot, request_id)

    def free(self, taken: FrameTaken) -> None:
        if taken.ring != self._number:
            return
        self._free.append(taken.slot)
        while self._retired:
            self._retired.pop().close()

    def close(self) -> None:
        for ring in (*self._retired, self._ring):
            if ring is not None:
                ring.close()
        self._retired, self._ring = [], None

    def _open(self, width: int, height: int) -> None:
        if self._ring is not None:
            # The process may not have attached to it yet: it lives until a slot of the new one comes back.
            self._retired.append(self._ring)
        self._ring = FrameRing.create(INPUT_SLOTS, width, height)
        self._number += 1
        self._free = list(range(INPUT_SLOTS))
        self.announce = RingOpened(self._number, self._ring.name)

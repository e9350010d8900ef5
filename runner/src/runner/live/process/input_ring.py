"""InputRing: the host's side of the frames into one pipeline process."""

from __future__ import annotations

import time

from ..trickle.frame import RawFrame
from .messages import FrameSent, FrameTaken, RingOpened
from .ring import FrameRing

INPUT_SLOTS = 3  # one in the pipeline, one waiting, one to spare while rings change


class InputRing:
    """Slots for the frames into a process, and the one frame that waits.

    Attributes:
        announce: a ring that the process has not been told of yet.
        waiting: the frame that is next once the pipeline has room for it.
        waiting_s: its presentation time in seconds.
    """

    def __init__(self) -> None:
        self.announce: RingOpened | None = None
        self.waiting: FrameSent | None = None
        self.waiting_s = 0.0
        self._ring: FrameRing | None = None
        self._retired: list[FrameRing] = []
        self._number = 0
        self._free: list[int] = []

    def wait(self, frame: RawFrame, request_id: str) -> int:
        """Put a frame in the place of the one that waits; how many (0, 1) that dropped."""
        superseded = self.waiting
        if superseded is not None:
            self.waiting = None
            self.free(FrameTaken(superseded.ring, superseded.slot))
        self.waiting = self.write(frame, request_id)
        self.waiting_s = frame.time_s
        return int(superseded is not None)

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

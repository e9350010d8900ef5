"""Tap: the newest picture of a stream, read from the host's shared memory without disturbing it."""

from __future__ import annotations

from runner.live.process.ring import FrameRing
from runner.live.trickle.frame import RawFrame


class Tap:
    """One side of the pipeline, input or output. Empty until `open` names a ring.

    Attributes:
        count: pictures written up to the one that `newest` returned last, those that no call has returned included.
    """

    def __init__(self) -> None:
        self._ring: FrameRing | None = None
        self.count = 0

    def open(self, ring: str) -> None:
        """Read from that ring from now on; one that is gone already leaves the tap empty."""
        self.close()
        try:
            self._ring = FrameRing.attach(ring)
        except (OSError, ValueError):
            self._ring = None

    def newest(self) -> RawFrame | None:
        """The newest picture (a copy), if there is one that an earlier call has not returned; cheap if not."""
        if self._ring is None or self._ring.newest == self.count:
            return None
        found = self._ring.tap(self.count)
        if found is None:
            return None
        self.count, frame = found
        return frame

    def close(self) -> None:
        """Let go of the memory. Safe to call twice."""
        if self._ring is not None:
            self._ring.close()
        self._ring, self.count = None, 0

"""The two ends of shared memory in a pipeline process: the ring that it reads inputs from, the one for its outputs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import ProcessError
from .channel import ChildChannel
from .messages import RingOpened

if TYPE_CHECKING:
    from .ring import FrameRing

OUTPUT_SLOTS = 4


class InputRings:
    """The rings that the host writes frames to; only the newest is kept open."""

    def __init__(self) -> None:
        self._name = ""
        self._number = 0
        self._ring: FrameRing | None = None

    def opened(self, number: int, name: str) -> None:
        """The host has a new ring."""
        if self._ring is not None:
            self._ring.close()
        self._ring, self._number, self._name = None, number, name

    def ring(self, number: int) -> FrameRing:
        """Return the ring of that number.

        Attached here, not when it is announced: if user code has used up all file descriptors, each frame fails with
        that reason until there are some again.

        Raises:
            OSError: it cannot be opened. ProcessError: it is not the newest ring.
        """
        from .ring import FrameRing

        if number != self._number:
            raise ProcessError(f"input ring {number} was replaced by ring {self._number}")
        if self._ring is None:
            self._ring = FrameRing.attach(self._name)
        return self._ring


class OutputRing:
    """The ring that a pipeline process writes its outputs to; grows when pictures do.

    Attributes:
        number: of the current ring, from 1; 0 before the first output.
    """

    def __init__(self, channel: ChildChannel) -> None:
        self.number = 0
        self._channel = channel
        self._ring: FrameRing | None = None
        self._retired: list[FrameRing] = []
        self._slots: asyncio.Queue[int] = asyncio.Queue()

    async def take(self, width: int, height: int) -> tuple[FrameRing, int]:
        """A slot to write to, opened; waits while the host holds all of them."""
        if self._ring is None or not self._ring.fits(width, height):
            self._open(width, height)
        assert self._ring is not None
        slot = await self._slots.get()
        self._ring.open_slot(slot)
        return self._ring, slot

    def put_back(self, slot: int) -> None:
        """Nothing was sent in this slot of the current ring."""
        self._slots.put_nowait(slot)

    def free(self, ring: int, slot: int) -> None:
        """The host has given a slot back."""
        if ring != self.number:
            return
        self._slots.put_nowait(slot)
        # It has attached to this ring: the one before is not needed any more.
        while self._retired:
            self._retired.pop().close()

    def _open(self, width: int, height: int) -> None:
        from .ring import FrameRing

        if self._ring is not None:
            self._retired.append(self._ring)
        self._ring = FrameRing.create(OUTPUT_SLOTS, width, height)
        self.number += 1
        self._slots = asyncio.Queue()
        for slot in range(OUTPUT_SLOTS):
            self._slots.put_nowait(slot)
        self._channel.send(RingOpened(self.number, self._ring.name))

"""FrameRing: fixed-size slots in shared memory, each a small header and the pixels of one picture.

A ring has one writer. Readers on the frame path are told slot numbers by message and give slots
back by message, so nobody overwrites what they read. A *tap* is a reader that is told nothing: it
looks for the newest picture, copies it, and checks by the slot's two sequence words (a seqlock)
that the writer did not come by meanwhile. A tap can be slow, stopped or killed; the writer never notices.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..trickle.frame import STAMPS, RawFrame
from .segment import Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = 3  # RGB, one byte each
_MAGIC = 0x41495252  # "AIRR"
# magic, slot count, bytes per slot (header included), number of the newest picture + 1, its slot
_RING_HEADER = struct.Struct("<IIQQI")
_RING_HEADER_BYTES = 64
_NEWEST = struct.Struct("<QI")
_NEWEST_OFFSET = 16
# begin, end (equal: the slot is whole), seq, pts, time base, width, height, flags, one int64 per stamp
_SLOT_HEADER = struct.Struct(f"<QQqqqqIII4x{len(STAMPS)}q")
_SLOT_HEADER_BYTES = 192
_BEGIN_END = struct.Struct("<QQ")
_LOADING = 1


def slot_bytes_for(width: int, height: int) -> int:
    """Bytes a slot needs for a picture of that size, header included, rounded up to whole pages."""
    needed = _SLOT_HEADER_BYTES + width * height * CHANNELS
    return -(-needed // 4096) * 4096


class FrameRing:
    """A ring of `slots` pictures in shared memory.

    Attributes:
        name: what a reader in another process passes to `attach`.
        slots: how many pictures it holds.
        slot_bytes: size of one slot; `fits` says whether a picture goes in.
    """

    def __init__(self, segment: Segment, slots: int, slot_bytes: int) -> None:
        self._segment = segment
        self._memory = memoryview(segment.memory)
        self._written = 0
        self.name = segment.name
        self.slots = slots
        self.slot_bytes = slot_bytes

    @classmethod
    def create(cls, slots: int, width: int, height: int) -> FrameRing:
        """A new ring, owned and written by this process, for pictures of up to `width` x `height`."""
        slot_bytes = slot_bytes_for(width, height)
        segment = Segment.create(_RING_HEADER_BYTES + slots * slot_bytes)
        _RING_HEADER.pack_into(segment.memory, 0, _MAGIC, slots, slot_bytes, 0, 0)
        return cls(segment, slots, slot_bytes)

    @classmethod
    def attach(cls, name: str) -> FrameRing:
        """Read a ring of another process.

        Raises:
            FileNotFoundError: its owner is gone.
            ValueError: the name is not that of a ring.
        """
        segment = Segment.attach(name)
        if segment.size < _RING_HEADER_BYTES:
            raise ValueError(f"{name} is not a frame ring")
        magic, slots, slot_bytes, _, _ = _RING_HEADER.unpack_from(segment.memory, 0)
        if magic != _MAGIC or segment.size != _RING_HEADER_BYTES + slots * slot_bytes:
            raise ValueError(f"{name} is not a frame ring")
        return cls(segment, slots, slot_bytes)

    def fits(self, width: int, height: int) -> bool:
        """Whether a picture of that size goes into a slot."""
        return slot_bytes_for(width, height) <= self.slot_bytes

    def pixels(self, slot: int, width: int, height: int) -> NDArray[np.uint8]:
        """A view of the slot's pixels, uint8 (height, width, 3); the writer fills it, then calls `commit`."""
        start = _RING_HEADER_BYTES + slot * self.slot_bytes + _SLOT_HEADER_BYTES
        count = width * height * CHANNELS
        flat = np.frombuffer(self._memory, np.uint8, count, start)
        return flat.reshape(height, width, CHANNELS)

    def write(self, slot: int, frame: RawFrame) -> None:
        """Copy a picture into a slot and make it the newest."""
        height, width = frame.pixels.shape[:2]
        self.open_slot(slot)
        np.copyto(self.pixels(slot, width, height), frame.pixels)
        self.commit(slot, frame, width, height)

    def open_slot(self, slot: int) -> None:
        """Mark a slot as being written, so that a tap does not trust what it reads from it."""
        self._written += 1
        offset = _RING_HEADER_BYTES + slot * self.slot_bytes
        _BEGIN_END.pack_into(self._memory, offset, self._written, 0)

    def commit(self, slot: int, frame: RawFrame, width: int, height: int) -> None:
        """Write the header of an opened slot (all of `frame` but its pixels) and make it the newest."""
        offset = _RING_HEADER_BYTES + slot * self.slot_bytes
        stamps = frame.stamps
        _SLOT_HEADER.pack_into(
            self._memory,
            offset,
            self._written,
            self._written,
            frame.seq,
            frame.pts,
            frame.time_base.numerator,
            frame.time_base.denominator,
            width,
            height,
            _LOADING if frame.is_loading_frame else 0,
            *(stamps.get(name, 0) for name in STAMPS),
        )
        _NEWEST.pack_into(self._memory, _NEWEST_OFFSET, self._written, slot)

    def read(self, slot: int) -> RawFrame:
        """The picture in a slot that this reader holds; its pixels are a view of the slot."""
        offset = _RING_HEADER_BYTES + slot * self.slot_bytes
        header = _SLOT_HEADER.unpack_from(self._memory, offset)
        _, _, seq, pts, numerator, denominator, width, height, flags, *times = header
        return RawFrame(
            pixels=self.pixels(slot, width, height),
            pts=pts,
            time_base=Fraction(numerator, denominator),
            seq=seq,
            stamps={name: time for name, time in zip(STAMPS, times, strict=True) if time},
            is_loading_frame=bool(flags & _LOADING),
        )

    @property
    def newest(self) -> int:
        """How many pictures were ever written: changes when there is a new one, 0 while there is none."""
        return int(_NEWEST.unpack_from(self._memory, _NEWEST_OFFSET)[0])

    def tap(self, after: int = 0) -> tuple[int, RawFrame] | None:
        """A copy of the newest picture and its number, or None if none is newer than number `after`.

        Never blocks and never disturbs the writer; after four torn reads in a row it gives up
        until the next call.
        """
        for _ in range(4):
            number, slot = _NEWEST.unpack_from(self._memory, _NEWEST_OFFSET)
            if number <= after or slot >= self.slots:
                return None
            offset = _RING_HEADER_BYTES + slot * self.slot_bytes
            begin, end = _BEGIN_END.unpack_from(self._memory, offset)
            if begin != number or end != number:
                continue
            frame = self.read(slot)
            frame.pixels = frame.pixels.copy()
            if _BEGIN_END.unpack_from(self._memory, offset) == (number, number):
                return number, frame
        return None

    def close(self) -> None:
        """Let go of the memory; the owner's call ends the ring for later readers. Safe to call twice."""
        try:
            self._memory.release()
        except BufferError:
            pass
        self._segment.close()


class TapWriter:
    """The writer of a ring that only taps read: fills slots in turn, grows when pictures do.

    Attributes:
        ring: the current ring, None before the first picture.
    """

    SLOTS = 3  # one being written, the newest, and one that a slow tap may still be copying

    def __init__(self) -> None:
        self.ring: FrameRing | None = None
        self._next = 0

    def write(self, frame: RawFrame) -> bool:
        """Publish a picture. True when a new ring had to be made, which readers must be told."""
        height, width = frame.pixels.shape[:2]
        grown = self.ring is None or not self.ring.fits(width, height)
        if grown:
            self.close()
            self.ring = FrameRing.create(self.SLOTS, width, height)
        assert self.ring is not None
        self.ring.write(self._next, frame)
        self._next = (self._next + 1) % self.SLOTS
        return grown

    def close(self) -> None:
        if self.ring is not None:
            self.ring.close()
            self.ring = None

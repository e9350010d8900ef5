"""RelayChannel: what a trickle server keeps of one channel, its newest segments and the numbers around them.

The rules are those of the network's server (contract 1.2 to 1.4), where they are odd too; HTTP is elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

WINDOW_SEGMENTS = 5  # the newest ones; a segment's place among them is its number modulo this


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What has happened on one channel so far.

    Attributes:
        head: number of the next segment to be written.
        segments: how many have begun.
        bytes_in, bytes_out: taken from publishers; given to readers.
        readers: requests that read now, or wait for a segment.
        idle_s: since the newest segment has begun.
    """

    name: str
    mime_type: str
    head: int
    segments: int
    bytes_in: int
    bytes_out: int
    readers: int
    idle_s: float


class RelaySegment:
    """The bytes of one segment, for one writer and any number of readers, each at its own place.

    Attributes:
        closed: nothing more is added.
    """

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.closed = False
        self._data = bytearray()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add data, unless it is closed: then the data is of no use any more."""
        if not self.closed:
            self._data += data
            self._tell()

    def close(self) -> None:
        """It is whole, dropped, or out of the window: readers get to its end."""
        if not self.closed:
            self.closed = True
            self._tell()

    async def read(self, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on; waits while there are none, ``b""`` at the end."""
        while start >= len(self._data) and not self.closed:
            await self._changed.wait()
        with memoryview(self._data) as view:
            return bytes(view[start : start + size])

    async def wait_closed(self) -> None:
        """Wait until nothing more is added."""
        while not self.closed:
            await self._changed.wait()

    def _tell(self) -> None:
        # A new event for each change: whoever waits later waits for the next one.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class RelayChannel:
    """One channel.

    Attributes:
        head: number of the next segment. It moves when a segment's first byte comes, also backwards.
        written_at: loop time at which the newest segment began.
        closed: it is removed; its segments are closed.
    """

    def __init__(self, name: str, mime_type: str, now: float) -> None:
        self.name = name
        self.mime_type = mime_type
        self.head = 0
        self.written_at = now
        self.closed = False
        self.segments = self.bytes_in = self.bytes_out = self.readers = 0
        self._window: list[RelaySegment | None] = [None] * WINDOW_SEGMENTS

    def for_write(self, seq: int) -> RelaySegment:
        """The segment to write; what is in its place is closed, unless it is this one. `seq` -1: at the head."""
        if seq == -1:
            seq = self.head
        segment = self.find(seq)
        if segment is None:
            segment = self._put(RelaySegment(seq))
        return segment

    def for_read(self, seq: int) -> RelaySegment | None:
        """The segment to read, made if it is the next one; None if it is not there, or not any more.

        `seq` -1: the next segment; -2: the one that is being written, or the first.
        """
        if seq == -1:
            seq = self.head
        elif seq == -2:
            seq = max(0, self.head - 1)
        segment = self.find(seq)
        if segment is None and (seq == self.head or (self.head == 0 and seq == 1)):
            segment = self._put(RelaySegment(seq))
        return segment

    def find(self, seq: int) -> RelaySegment | None:
        """The segment of this number, if the window has it."""
        segment = self._window[seq % WINDOW_SEGMENTS]
        return segment if segment is not None and segment.seq == seq else None

    def began(self, segment: RelaySegment, now: float) -> None:
        """Its first byte has come, or its end without any."""
        self.head = segment.seq + 1
        self.written_at = now
        self.segments += 1

    def close_before(self, seq: int) -> None:
        """End all older segments, for a publisher that starts anew."""
        for segment in self._window:
            if segment is not None and segment.seq < seq:
                segment.close()

    def close(self) -> None:
        """End everything."""
        self.closed = True
        for segment in self._window:
            if segment is not None:
                segment.close()
        self._window = [None] * WINDOW_SEGMENTS

    def statistics(self, now: float) -> ChannelStatistics:
        """What has happened so far."""
        return ChannelStatistics(
            self.name,
            self.mime_type,
            self.head,
            self.segments,
            self.bytes_in,
            self.bytes_out,
            self.readers,
            now - self.written_at,
        )

    def _put(self, segment: RelaySegment) -> RelaySegment:
        place = segment.seq % WINDOW_SEGMENTS
        old = self._window[place]
        if old is not None:
            old.close()
        self._window[place] = segment
        return segment

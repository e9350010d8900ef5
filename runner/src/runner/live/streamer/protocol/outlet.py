"""Outlet: encoded segments on their way from the encoder's thread to the task that publishes them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from ....errors import AddressError, ChannelGone, StreamError, TrickleError
from .protocol import ProtocolStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...trickle.publisher import SegmentWriter, TricklePublisher

# Encoded bytes that wait for a server that does not take them: some ten seconds of a good picture. Then the
# rest of the segment is left out: a live stream that comes ever later is worth nothing.
_LIMIT_BYTES = 8 << 20


class OutgoingSegment:
    """Where the encoder writes one segment to."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.cut = False

    def write(self, data: bytes) -> None:
        """Called by the encoder's thread; never waits."""
        self._outlet.put(self, bytes(data))

    def close(self) -> None:
        """Called by the encoder's thread: the segment is whole."""
        self._outlet.put(self, None)


class Outlet:
    """Takes bytes from a thread, publishes them on the loop.

    Attributes:
        error: what has ended it, None while it goes on.
    """

    def __init__(self, publisher: TricklePublisher, statistics: ProtocolStatistics, began: Callable[[], None]) -> None:
        """`began`: called once, on the loop, when the first bytes are on their way."""
        self.error: StreamError | None = None
        self._publisher = publisher
        self._statistics = statistics
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[OutgoingSegment, bytes | None]] = deque()
        self._put_bytes = 0  # by the encoder's thread, and this one on the loop: neither counts for the other
        self._taken_bytes = 0
        self._arrived = asyncio.Event()
        self._finishing = False
        self._writing: tuple[OutgoingSegment, SegmentWriter] | None = None
        self._task = asyncio.create_task(self._publish())

    def open_segment(self, _number: int) -> OutgoingSegment:
        """Called by the encoder's thread."""
        return OutgoingSegment(self)

    def put(self, segment: OutgoingSegment, data: bytes | None) -> None:
        """Called by the encoder's thread: `data` of a segment, or None at its end."""
        if data is not None:
            if self._put_bytes - self._taken_bytes > _LIMIT_BYTES and not segment.cut:
                segment.cut = True
                self._statistics.drop("publisher")
            if segment.cut or self.error is not None:
                return
            self._put_bytes += len(data)
        self._items.append((segment, data))
        self._wake()

    async def finish(self, limit_s: float) -> None:
        """Everything that was put is published, or the limit is over."""
        self._finishing = True
        self._arrived.set()
        await asyncio.wait([self._task], timeout=limit_s)
        await self.close()

    async def close(self) -> None:
        """Publish nothing more. Safe to call twice."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._items.clear()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:
            pass  # the loop has ended, and with it whoever would have published this

    async def _publish(self) -> None:
        while self._items or not self._finishing:
            if not self._items:
                self._arrived.clear()
                if not self._items and not self._finishing:
                    await self._arrived.wait()
                continue
            segment, data = self._items.popleft()
            self._taken_bytes += len(data or b"")
            try:
                await self._write(segment, data)
            except (ChannelGone, AddressError) as error:
                self.error = error
                self._items.clear()
                return
            except TrickleError:
                # The publisher has told and counted it: this segment is lost, the next one begins anew.
                segment.cut = True
                self._writing = None
                self._statistics.drop("publisher")

    async def _write(self, segment: OutgoingSegment, data: bytes | None) -> None:
        if self._writing is None or self._writing[0] is not segment:
            if data is None or segment.cut:
                return
            self._writing = (segment, await self._publisher.next())
            self._began()
            self._began = _nothing
        writer = self._writing[1]
        if data is None:
            self._writing = None
            await writer.close()
        else:
            await writer.write(data)


def _nothing() -> None:
    """Told once is enough."""

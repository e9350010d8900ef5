"""BytePipe: bytes from an event loop to one thread that reads them as a file."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

LIMIT_BYTES = 4 * 1024 * 1024


class BytePipe:
    """A byte stream with one writer on an event loop and one reader in a thread.

    The writer waits, without blocking its loop, while more than the limit is unread. The reader
    blocks only while there is nothing to read.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._unread_bytes = 0
        self._ended = False
        self._closed = False
        # Set while a writer waits; resolved on the writer's loop by whoever makes room.
        self._room: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    @property
    def unread_bytes(self) -> int:
        """How much was written and not read yet."""
        return self._unread_bytes

    async def write(self, data: bytes) -> None:
        """Append, then wait while more than the limit is unread.

        What is written is whole or not there at all: a write that is cancelled while it waits has
        written. After `end` or `close` data are thrown away.
        """
        with self._changed:
            if self._ended or self._closed or not data:
                return
            self._chunks.append(memoryview(data))
            self._unread_bytes += len(data)
            self._changed.notify()
            if self._unread_bytes <= self._limit_bytes:
                return
            loop = asyncio.get_running_loop()
            room: asyncio.Future[None] = loop.create_future()
            self._room = (loop, room)
        await room

    def end(self) -> None:
        """No more comes: the reader sees the end after what is there."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def close(self) -> None:
        """Throw away what is unread and let go of both sides at once. Safe from any thread, and twice."""
        with self._changed:
            self._closed = True
            self._chunks.clear()
            self._unread_bytes = 0
            self._changed.notify()
            self._make_room()

    def read(self, size: int = -1) -> bytes:
        """What there is, at most `size` bytes; waits only for the first one. Empty at the end."""
        with self._changed:
            while not (self._chunks or self._ended or self._closed):
                self._changed.wait()
            if size < 0:
                size = self._unread_bytes
            parts = []
            while self._chunks and size > 0:
                chunk = self._chunks.popleft()
                if len(chunk) > size:
                    self._chunks.appendleft(chunk[size:])
                    chunk = chunk[:size]
                parts.append(chunk)
                size -= len(chunk)
                self._unread_bytes -= len(chunk)
            if self._unread_bytes <= self._limit_bytes:
                self._make_room()
        return b"".join(parts)

    def _make_room(self) -> None:
        if self._room is None:
            return
        loop, room = self._room
        self._room = None
        with contextlib.suppress(RuntimeError):  # a loop that is closed waits for nothing any more
            loop.call_soon_threadsafe(_resolve, room)


def _resolve(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)

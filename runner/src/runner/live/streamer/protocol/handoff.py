"""Handoff: the one place where frames pass from the reading thread to the event loop."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque

from ...trickle.frame import AudioFrame, RawFrame
from .protocol import Policy

_LOSSLESS_DEPTH = 4  # pictures; enough that neither side waits for the other's single steps


class Handoff:
    """A short queue with a thread on one side and one asyncio task on the other.

    With policy ``newest`` one picture waits at most, and a newer one takes its place. With
    ``lossless`` the thread waits for room. Sound is never dropped.

    After `end`, what waits is still given out, then `get` answers None or raises the error that
    `end` was given. After `close` both sides are let go at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, policy: Policy) -> None:
        self._loop = loop
        self._policy = policy
        self._items: deque[RawFrame | AudioFrame] = deque()
        self._pictures = 0
        self._room = threading.Condition()
        self._arrived = asyncio.Event()
        self._asking = False  # the task has done with what it took, and waits for more
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: RawFrame | AudioFrame, *, wait_s: float = 0.0) -> RawFrame | None:
        """Called by the thread. The picture that had to give way, None if there was none.

        A closed handoff takes nothing, and never blocks.

        Args:
            wait_s: for room, before something gives way; ``math.inf``: nothing does.
        """
        replaced = None
        with self._room:
            if isinstance(item, RawFrame):
                if self._policy == "lossless" or wait_s == math.inf:
                    self._room.wait_for(lambda: self._closed or self._pictures < _LOSSLESS_DEPTH)
                elif wait_s:
                    self._room.wait_for(lambda: self._closed or not self._pictures, wait_s)
                if self._policy == "newest" and wait_s < math.inf and self._pictures and not self._closed:
                    replaced = next(waiting for waiting in self._items if isinstance(waiting, RawFrame))
                    self._items = deque(waiting for waiting in self._items if waiting is not replaced)
                    self._pictures -= 1
                self._pictures += 1
            if self._closed:
                return None
            self._items.append(item)
        self._wake()
        return replaced

    def wait_taken(self, limit_s: float) -> None:
        """Called by the thread: wait until what was put has been taken, but not longer than the limit."""
        with self._room:
            self._room.wait_for(lambda: self._closed or not self._items, limit_s)

    def wait_asked(self) -> None:
        """Called by the thread: wait until all was taken and the task is done with it."""
        with self._room:
            self._room.wait_for(lambda: self._closed or (self._asking and not self._items))

    def end(self, error: BaseException | None = None) -> None:
        """Called by the thread: nothing more will come, because of `error` or because all was given."""
        with self._room:
            self._ended = True
            self._error = error
        self._wake()

    async def get(self) -> RawFrame | AudioFrame | None:
        """The next item; None at the end. Raises the error that ended it."""
        while True:
            with self._room:
                if self._closed:
                    return None
                self._asking = not self._items
                if self._items:
                    item = self._items.popleft()
                    if isinstance(item, RawFrame):
                        self._pictures -= 1
                        self._room.notify()
                    return item
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                # Under the lock, so that an arrival after this point sets it again.
                self._arrived.clear()
                self._room.notify()
            await self._arrived.wait()

    def close(self) -> None:
        """Called on the loop: drop what waits and let both sides go."""
        with self._room:
            self._closed = True
            self._items.clear()
            self._room.notify_all()
        self._arrived.set()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has been closed over our head
            with self._room:
                self._closed = True

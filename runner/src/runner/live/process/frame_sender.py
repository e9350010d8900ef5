"""FrameSender: sends frames into one pipeline process as flow control allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from ..trickle.frame import RawFrame
from .flow_control import FlowControl
from .input_ring import WAITING_AT_EXCHANGE, InputRing
from .messages import FrameSent, FrameTaken, Message

CATCH_UP_FRAMES = 30


class FrameSender:
    """Sends frames into one process. At most one frame waits for room, a few more while new code goes in.

    Call `advance` after each change of `flow`.

    Attributes:
        flow: decides when a frame may enter.
        sent: frames sent so far.
        room: set while a frame may enter at once.
        taken: set while no frame waits or is in `put_video_frame`.
    """

    def __init__(self, send: Callable[[Message], None], on_ceiling: Callable[[], None]) -> None:
        """`send` gets the messages for the process. `on_ceiling` is called once, see `FlowControl.grant`."""
        self.flow = FlowControl()
        self.sent = 0
        self.room = asyncio.Event()
        self.taken = asyncio.Event()
        self._send = send
        self._on_ceiling = on_ceiling
        self._ring = InputRing()
        self._sent_at = 0.0
        self._blocked = 0  # calls of `send` that are waiting for room
        self._catch_up: int | None = None  # frames until no more than one may wait
        self._starving: asyncio.TimerHandle | None = None

    def offer(self, frame: RawFrame, request_id: str) -> int:
        """Send a frame, or let it wait instead of an older one; return the number of dropped frames."""
        superseded = 0
        self._count_down()
        if self.room.is_set():
            self._write(frame, request_id)
        else:
            superseded = self._ring.wait(frame, request_id)
        self.advance()
        return superseded

    async def send(
        self, frame: RawFrame, request_id: str, wait_for: Callable[[asyncio.Event], Awaitable[None]]
    ) -> None:
        """Send a frame once there is room. Exceptions of `wait_for` propagate."""
        self._blocked += 1
        self.advance()
        try:
            await wait_for(self.room)
        finally:
            self._blocked -= 1
        self._write(frame, request_id)
        self.advance()

    def hold(self) -> None:
        """Let a few more frames wait, instead of replacing one another, until `let_go`."""
        self._ring.limit, self._catch_up = WAITING_AT_EXCHANGE, None

    def let_go(self) -> None:
        """Give the pipeline some frames of time to catch up with those that wait; then one may wait again."""
        self._catch_up = CATCH_UP_FRAMES

    def _count_down(self) -> None:
        if self._catch_up is None:
            return
        self._catch_up -= 1
        if not self._catch_up or not self._ring.waiting:
            self._ring.limit, self._catch_up = 1, None

    def take_back(self, message: FrameTaken) -> None:
        """Free the slot of a frame for which `put_video_frame` has returned."""
        self._ring.free(message)
        self.flow.taken(message.referenced, time.monotonic())
        self.advance()

    def advance(self) -> None:
        """Send the waiting frame if there is room for it."""
        if self._ring.waiting and self.flow.has_room:
            self._announce(*self._ring.waiting.popleft())
        free = not self._ring.waiting
        _set(self.room, free and self.flow.has_room)
        _set(self.taken, free and not self.flow.busy)
        self._watch_starving()

    def close(self) -> None:
        """Free the shared memory. Nothing is sent afterwards."""
        if self._starving is not None:
            self._starving.cancel()
        self._ring.close()

    @property
    def waiting(self) -> int:
        """Frames that wait for the pipeline."""
        return len(self._ring.waiting)

    @property
    def busy_s(self) -> float:
        """Seconds since the frame in `put_video_frame` was sent, 0 if there is none."""
        return time.monotonic() - self._sent_at if self._sent_at and self.flow.busy else 0.0

    def _write(self, frame: RawFrame, request_id: str) -> None:
        self._announce(self._ring.write(frame, request_id), frame.time_s)

    def _announce(self, message: FrameSent, time_s: float) -> None:
        if self._ring.announce:
            self._send(self._ring.announce)
            self._ring.announce = None
        self._send(message)
        self.sent += 1
        self._sent_at = time.monotonic()
        self.flow.sent(time_s)

    def _watch_starving(self) -> None:
        if self._starving is not None:
            self._starving.cancel()
            self._starving = None
        if (self._blocked or self.waiting) and self.flow.is_starved:
            wait_s = self.flow.wait_s(time.monotonic())
            self._starving = asyncio.get_running_loop().call_later(wait_s, self._feed_starved)

    def _feed_starved(self) -> None:
        if self.flow.grant():
            self._on_ceiling()
        self.advance()


def _set(event: asyncio.Event, is_set: bool) -> None:
    if is_set:
        event.set()
    else:
        event.clear()

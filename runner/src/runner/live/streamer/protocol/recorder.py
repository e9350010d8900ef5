"""Recorder: feeds an encoder from the event loop without ever blocking it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from ...trickle.frame import AudioFrame, RawFrame
from .protocol import Policy, ProtocolStatistics

# Frames that the encoder has: the one that it encodes and those that wait. Live, each of them is latency.
_DEPTHS: dict[Policy, int] = {"newest": 2, "lossless": 4}


class FrameEncoder(Protocol):
    """What a recorder feeds; see `Encoder`, whose methods these are."""

    def write(self, frame: RawFrame | AudioFrame) -> bool: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...


class Recorder:
    """Copies frames and has them encoded, in order, by one thread of its own.

    When the encoder cannot keep up, `put` waits, which holds up the pipeline: with policy ``newest`` frames are
    dropped in front of it, where they have cost nothing yet. Nothing is dropped here.
    """

    def __init__(
        self,
        open_encoder: Callable[[], FrameEncoder],
        policy: Policy,
        statistics: ProtocolStatistics,
        encoded: Callable[[RawFrame], None] = lambda _frame: None,
    ) -> None:
        """`encoded`: called by the thread with every picture that the encoder has taken."""
        self._depth = _DEPTHS[policy]
        self._statistics = statistics
        self._open_encoder = open_encoder
        self._encoded = encoded
        self._encoder: FrameEncoder | None = None  # made and used by the thread alone
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._writes: deque[Future[None]] = deque()  # all that may still fail, oldest first
        self._pictures: deque[Future[None]] = deque()  # those of them that hold a picture

    async def open(self) -> None:
        """Raises SinkError: the file cannot be written."""
        await asyncio.wrap_future(self._thread.submit(self._open))

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        """Have a frame encoded; wait for room where the encoder is behind. Audio never waits.

        Raises:
            SinkError: the file cannot be written any further.
        """
        self._check_finished_writes()
        if isinstance(frame, AudioFrame):
            self._writes.append(self._thread.submit(self._write, frame))
            return
        copy = replace(frame, pixels=frame.pixels.copy())
        await self._make_room()
        if self._closed:
            return
        write = self._thread.submit(self._write, copy)
        self._writes.append(write)
        self._pictures.append(write)

    async def finish(self) -> None:
        """Write what waits and give the file its name. Raises SinkError."""
        if self._writes:
            await _settled(self._writes[-1])
        self._check_finished_writes()
        await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._finish)))

    async def close(self) -> None:
        """End the thread; a file that is not finished is removed. Safe to call twice."""
        if not self._closed:
            self._closed = True
            for write in self._writes:
                write.cancel()
            # Handed over before the first await: who is cancelled while waiting has still cleaned up.
            self._thread.submit(self._abort)
            self._thread.shutdown(wait=False)
        await asyncio.to_thread(self._thread.shutdown)

    def _open(self) -> None:
        self._encoder = self._open_encoder()

    def _finish(self) -> None:
        assert self._encoder is not None
        self._encoder.finish()

    def _abort(self) -> None:
        if self._encoder is not None:
            self._encoder.abort()

    def _write(self, frame: RawFrame | AudioFrame) -> None:
        assert self._encoder is not None
        written = self._encoder.write(frame)
        if isinstance(frame, RawFrame):
            if written:
                self._statistics.frames_out += 1
                self._encoded(frame)
            else:
                self._statistics.drop("timestamp")

    async def _make_room(self) -> None:
        while len(self._pictures) >= self._depth:
            oldest = self._pictures[0]
            if oldest.done():
                self._pictures.popleft()
            else:
                await _settled(oldest)

    def _check_finished_writes(self) -> None:
        while self._writes and self._writes[0].done():
            write = self._writes.popleft()
            if not write.cancelled():
                write.result()


async def _settled(write: Future[None]) -> None:
    """Wait until it is done, well or badly. Who is cancelled while waiting does not cancel the write."""
    waiting = asyncio.wrap_future(write)
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        waiting.exception()  # seen here, so that asyncio does not report it as lost; raised by the next call

"""Post: one segment on its way to a trickle server, over as many requests as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp

from ...errors import AddressError, ChannelGone, RunnerError, TrickleError
from .address import shown
from .session import CLOSED_HEADER, REQUEST_HEADERS, RESET_HEADER, cause, segment_url

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024  # given to the connection at once, so that progress shows
_WAITING_DELAYS = 4  # a request that nobody waits for yet is repeated more slowly


@dataclass(frozen=True, slots=True)
class PostOptions:
    """Limits of one segment.

    Attributes:
        buffer_bytes: that may wait for the server; `write` waits beyond.
        write_limit_s: how long the server may take nothing, or give no answer, until the segment is lost.
        retry_delay_s: between two requests for a segment of which nothing went out.
    """

    buffer_bytes: int = 1 << 20
    write_limit_s: float = 10.0
    retry_delay_s: float = 0.25


class Post:
    """The requests of one segment. The first one is made at once, long before there is data.

    Attributes:
        seq: its number. May grow as long as it is not taken, where the server says that a number is used up.
        taken: somebody writes it.
        error: why it is lost; None while it goes well.
        task: makes the requests; done when the segment is answered or lost.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        channel: str,
        seq: int,
        mime_type: str,
        options: PostOptions,
        *,
        reset: bool,
        over: Callable[[Post], None],
    ) -> None:
        """`over` is called once, when `task` is done."""
        self.seq = seq
        self.taken = False
        self.error: RunnerError | None = None
        self._session = session
        self._channel = channel
        self._name = shown(channel)
        self._headers = {**REQUEST_HEADERS, "Content-Type": mime_type, **({RESET_HEADER: "1"} if reset else {})}
        self._options = options
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = self._sent_bytes = 0
        self._superseded = False
        self._ended = False  # by the writer
        self._whole = False  # everything was given to the connection, and its end
        self._answered = False
        self._alarm: asyncio.TimerHandle | None = None
        self._filled, self._room, self._awaited = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._over = over
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._done)

    # ---- the writer's side -------------------------------------------------------------------

    def take(self) -> None:
        """Somebody writes it from now on."""
        self.taken = True
        self._awaited.set()

    def supersede(self) -> None:
        """A later segment is the current one: what has not gone out by now is not tried again."""
        self._superseded = True

    async def write(self, data: bytes) -> None:
        """Queue `data`; waits while too much waits.

        Raises:
            RunnerError: why it is lost.
            TrickleError: it has ended already.
        """
        for start in range(0, len(data), _CHUNK_BYTES):
            self.check()
            if self._ended:
                raise TrickleError(f"segment {self.seq} of {self._name} is closed already")
            while self._waiting_bytes >= self._options.buffer_bytes:
                self._room.clear()
                await self._room.wait()
                self.check()
            chunk = bytes(data[start : start + _CHUNK_BYTES])
            self._chunks.append(chunk)
            self._waiting_bytes += len(chunk)
            self._filled.set()
            self._arm()

    def end(self) -> None:
        """Nothing more comes."""
        if not self._ended:
            self._ended = True
            self._filled.set()
            self._arm()

    def check(self) -> None:
        """Raise what has gone wrong."""
        if self.error is not None:
            raise type(self.error)(str(self.error)) from self.error

    async def done(self) -> None:
        """Wait for the server's answer.

        Raises:
            RunnerError: why it is lost.
        """
        await asyncio.wait([self.task])
        self.check()

    def fail(self, error: RunnerError) -> None:
        """It is lost."""
        if self.error is not None or self._answered:
            return
        self.error = error
        self._room.set()
        if asyncio.current_task() is not self.task:
            self.task.cancel()

    def cancel(self) -> None:
        """Let go of the connection."""
        self.fail(TrickleError(f"segment {self.seq} of {self._name} was given up: its publisher is closed"))
        self.task.cancel()

    # ---- the server's side -------------------------------------------------------------------

    async def _run(self) -> None:
        told = False
        while True:
            failure = await self._request()
            if failure is None or self.error is not None:
                return
            if self._sent_bytes or self._superseded:
                self.fail(TrickleError(f"segment {self.seq} of {self._name} is lost: {failure}"))
                return
            level = logging.DEBUG if told else logging.INFO
            logger.log(level, "%s, segment %d: %s; trying again", self._name, self.seq, failure)
            told = True
            await self._pause()

    async def _pause(self) -> None:
        delay_s = self._options.retry_delay_s
        if self.taken:
            await asyncio.sleep(delay_s)
            return
        # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
        awaited = asyncio.ensure_future(self._awaited.wait())
        try:
            await asyncio.wait([awaited], timeout=delay_s * _WAITING_DELAYS)
        finally:
            awaited.cancel()

    async def _request(self) -> str | None:
        """One request: None when that settled it, else why it failed."""
        url = segment_url(self._channel, self.seq)
        try:
            async with self._session.post(
                url, data=self._body(), headers=self._headers, allow_redirects=False
            ) as response:
                return self._judge(response)
        except AddressError as error:
            self.fail(error)
            return None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            return cause(error)
        except RuntimeError as error:  # the session was closed by its owner
            self.fail(TrickleError(f"segment {self.seq} of {self._name} is lost: {error}"))
            return None

    def _judge(self, response: aiohttp.ClientResponse) -> str | None:
        """What an answer means: None if it is final."""
        if CLOSED_HEADER in response.headers or response.status == 404:
            self.fail(ChannelGone(f"the channel {self._name} is closed, or never was there"))
            return None
        if response.status == 200 and self._whole:
            self._answered = True
            return None
        if response.status == 200 and not self.taken:
            # Somebody has written or dropped this number already; what is stored there can't be changed.
            self.seq += 1
            return "the server had this segment already; going on with the next number"
        if response.status == 200:
            reason = "the server ended it before its end (dropped, or an old number; start_seq=None asks for the next)"
        else:
            reason = f"the server answered {response.status}"
            if response.status >= 500:
                return reason
        self.fail(TrickleError(f"segment {self.seq} of {self._name} is lost: {reason}"))
        return None

    async def _body(self) -> AsyncIterator[bytes]:
        yield b""  # sends the headers alone: the server is to have the request before there is data
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._sent_bytes += len(chunk)
                self._waiting_bytes -= len(chunk)
                self._room.set()
                self._arm(again=True)
                yield chunk
            if self._ended:
                self._whole = True
                return
            self._filled.clear()
            await self._filled.wait()

    # ---- limits ------------------------------------------------------------------------------

    def _arm(self, *, again: bool = False) -> None:
        """Watch that what the server owes comes: taking what waits, or its answer."""
        if again and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and (self._chunks or self._ended) and not self.task.done():
            self._alarm = asyncio.get_running_loop().call_later(self._options.write_limit_s, self._stalled)

    def _stalled(self) -> None:
        waiting = f"{self._waiting_bytes} bytes wait" if self._waiting_bytes else "its answer is missing"
        self.fail(
            TrickleError(
                f"segment {self.seq} of {self._name} is lost: the server has taken nothing for"
                f" {self._options.write_limit_s:g} s ({waiting})"
            )
        )

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if not task.cancelled() and (unexpected := task.exception()) is not None:
            logger.error("segment %d of %s: %r", self.seq, self._name, unexpected, exc_info=unexpected)
            self.error = self.error or TrickleError(f"segment {self.seq} of {self._name} is lost: {unexpected!r}")
            self._room.set()
        self._over(self)

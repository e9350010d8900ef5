"""TrickleSubscriber: reads the segments of one trickle channel, in order, with the next GET open ahead."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from types import TracebackType

import aiohttp

from ...errors import AddressError, ChannelGone, TrickleError
from .address import StreamAddresses, shown
from .session import (
    CLOSED_HEADER,
    LATEST_HEADER,
    REQUEST_HEADERS,
    SEGMENT_MISSING,
    SEQ_HEADER,
    cause,
    header_int,
    segment_url,
    trickle_session,
)

logger = logging.getLogger(__name__)

CURRENT = -2  # where to begin: the segment that is being written, from its beginning
LIVE_EDGE = -1  # the next one
READ_BYTES = 32 * 1024
RETRY_DELAY_S = 0.5
REFRESH_S = 20.0  # a GET that waits longer is opened anew: its connection may be dead without anybody telling
SILENCE_S = 30.0
_NEXT_LIMIT_S = 10.0  # for the answer to GET next, which the server has at once


class EndReason(str, Enum):
    """Why a subscription is over."""

    ENDED = "ended"  # the publisher or the server closed the channel (`Lp-Trickle-Closed`)
    GONE = "gone"  # 404 after it was there: closed too, and removed already
    NOT_FOUND = "not found"  # 404 at the first request: it never was there
    FAILED = "failed"  # no request has worked in as many tries as are allowed
    REFUSED = "refused"  # the URL may not be connected to
    CLOSED = "closed"  # by this side


class Segment:
    """One segment while it is read. Data comes as the publisher writes it.

    Attributes:
        broken: it ended before its end: the connection broke off, or no data came for too long.
    """

    def __init__(self, response: aiohttp.ClientResponse, seq: int, silence_s: float = SILENCE_S) -> None:
        self.broken = False
        self._response = response
        self._seq = seq
        self._silence_s = silence_s
        self._done = False

    async def read(self, size: int = READ_BYTES) -> bytes:
        """What is there, at most `size` bytes; waits while nothing is. ``b""`` at the end, and from then on."""
        if self._done:
            return b""
        watch = asyncio.get_running_loop().call_later(self._silence_s, self._fall_silent)
        try:
            data = await self._response.content.read(size)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            if not self._done:
                self.broken = True
                logger.warning("segment %d broke off: %s", self._seq, cause(error))
            data = b""
        finally:
            watch.cancel()
        if not data:
            await self.close()
        return data

    def seq(self) -> int:
        """Its number; -1 if the server has told none."""
        return self._seq

    def latest(self) -> int | None:
        """The channel's head when this segment was answered; None if this one was it."""
        return header_int(self._response, LATEST_HEADER)

    def eos(self) -> bool:
        """Whether it is no segment but the channel's end; `TrickleSubscriber.next` gives none of these out."""
        return CLOSED_HEADER in self._response.headers

    @property
    def empty(self) -> bool:
        """Whether the server has said beforehand that it has no data: it was dropped, or its publisher ended."""
        return self._response.headers.get("Content-Length") == "0"

    async def close(self) -> None:
        """Read no more of it. At once, and safe to call twice."""
        self._done = True
        self._response.close()

    def _fall_silent(self) -> None:
        self.broken = self._done = True
        logger.warning("no data of segment %d for %g s; its rest is left out", self._seq, self._silence_s)
        self._response.close()  # whoever waits in read() is let go


class TrickleSubscriber:
    """Reads a channel segment by segment (contract 1.4 and 1.6).

    While a segment is read, the GET of the next one waits at the server already; never more than that one.
    What goes wrong on the way is retried; what cannot be mended ends the stream.

    Attributes:
        end_reason: why `next` gives None, None as long as it does not.
        error: the same for people: ChannelGone, TrickleError or AddressError; None after an orderly end.
        jumps: how often the server no longer had the wanted segment, so that some were left out.
    """

    def __init__(
        self,
        url: str,
        start_seq: int = CURRENT,
        max_retries: int = 5,
        *,
        session: aiohttp.ClientSession | None = None,
        addresses: StreamAddresses | None = None,
        retry_delay_s: float = RETRY_DELAY_S,
        refresh_s: float = REFRESH_S,
        silence_s: float = SILENCE_S,
        newest_counts: bool = False,
    ) -> None:
        """Nothing is requested before the first `next`.

        Args:
            start_seq: a number, or -2 for the segment being written, -1 for the one after it.
            max_retries: tries in a row that may fail; any that works counts anew.
            session: of `trickle_session`; by default one of its own, which is closed with it.
            addresses: what its own session may connect to.
            retry_delay_s: between two tries.
            refresh_s: how long a GET waits for a segment to begin before it is opened anew.
            silence_s: how long a segment that has begun may give no data before it counts as broken.
            newest_counts: where segments were missed, go on with the newest there is (a channel of messages, of
                which the last one is in force), not with the one after it (media).
        """
        self.end_reason: EndReason | None = None
        self.error: TrickleError | AddressError | None = None
        self.jumps = 0
        self._url = url
        self._name = shown(url)
        self._seq = start_seq
        self._taken: int | None = None  # the newest segment that was given out
        self._head = -1  # where the channel was when a segment was missed
        self._max_tries = max(1, max_retries)
        self._retry_delay_s, self._refresh_s, self._silence_s = retry_delay_s, refresh_s, silence_s
        self._newest_counts = newest_counts
        self._addresses = addresses
        self._session = session
        self._owns_session = session is None
        self._was_there = False
        self._closed = False
        self._pending: asyncio.Task[aiohttp.ClientResponse | None] | None = None
        self._segment: Segment | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> TrickleSubscriber:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def next(self) -> Segment | None:
        """The next segment as soon as it has data; None at the end of the stream (see `end_reason`).

        The one before should have been read, or closed. May be cancelled; nothing is lost by that.
        """
        async with self._lock:
            if self.end_reason is not None:
                return None
            if self._pending is None:
                self._pending = asyncio.create_task(self._request_segment())
            await asyncio.wait([self._pending])
            pending, self._pending = self._pending, None
            # close() cancels what this waits for
            response = None if pending is None or pending.cancelled() else pending.result()
            if response is None:
                return None
            seq = header_int(response, SEQ_HEADER)
            if seq is not None and seq >= 0:
                self._seq, self._taken = seq + 1, seq
            self._segment = Segment(response, -1 if seq is None else seq, self._silence_s)
            self._pending = asyncio.create_task(self._request_segment())
            return self._segment

    async def close(self) -> None:
        """Read no more, at once. Safe to call twice."""
        self._closed = True
        self._end(EndReason.CLOSED)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            await asyncio.wait([pending])
            if not pending.cancelled() and pending.exception() is None and (response := pending.result()) is not None:
                response.close()
        if self._segment is not None:
            await self._segment.close()
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    # ---- the request ahead -------------------------------------------------------------------

    async def _request_segment(self) -> aiohttp.ClientResponse | None:
        """The answer with the next segment, or None once the stream has ended."""
        tries, jumped = 0, False
        while self.end_reason is None:
            failure = ""
            try:
                response = await self._get()
            except AddressError as error:
                self._end(EndReason.REFUSED, error)
                return None
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                failure = cause(error)
            else:
                if response.status == 200 and CLOSED_HEADER not in response.headers:
                    self._was_there = True
                    return response
                failure = self._refusal(response)
                response.close()
                if self.end_reason is not None:
                    return None
                if response.status == SEGMENT_MISSING:
                    tries, again_at_once = self._jump(response, tries, jumped)
                    jumped = True
                    if again_at_once:
                        continue
            tries += 1
            if tries >= self._max_tries:
                self._end(EndReason.FAILED, TrickleError(f"{self._name} cannot be read: {failure} ({tries} tries)"))
                return None
            logger.info("%s, segment %d: %s; trying again", self._name, self._seq, failure)
            await asyncio.sleep(self._retry_delay_s)
        return None

    def _refusal(self, response: aiohttp.ClientResponse) -> str:
        """Why an answer is no segment. Ends the stream where that is what it says."""
        if response.status == 200:
            self._end(EndReason.ENDED)
        elif response.status == 404 and self._was_there:
            self._end(EndReason.GONE)
        elif response.status == 404:
            self._end(EndReason.NOT_FOUND, ChannelGone(f"there is no channel {self._name} (any more)"))
        return f"the server answered {response.status}"

    def _jump(self, response: aiohttp.ClientResponse, tries: int, jumped: bool) -> tuple[int, bool]:
        """Go on at the channel's head: (tries that have failed by now, whether to ask again at once)."""
        self._was_there = True
        latest = header_int(response, LATEST_HEADER)
        if latest is not None and latest >= 0 and latest == self._taken:
            # The newest segment was dropped without data, so the head still stands on it (contract 1.4). It has
            # been given out; the next one comes when its publisher goes on, which may take long.
            self._seq = latest + 1
            return -1, False
        logger.info("%s has no segment %d (any more); going on at %s", self._name, self._seq, latest)
        self._seq = LIVE_EDGE if latest is None or latest < 0 else latest
        if self._newest_counts and self._seq > 0 and self._seq - 1 > (-1 if self._taken is None else self._taken):
            self._seq -= 1
        self.jumps += 1
        if self._newest_counts and latest is not None and latest > self._head:
            self._head = latest  # its publisher is faster than this side, which is no failure
            return (-1, False) if jumped else (0, True)
        return (tries, False) if jumped else (tries + 1, tries + 1 < self._max_tries)

    async def _get(self) -> aiohttp.ClientResponse:
        """One GET, opened anew each `refresh_s` until it is answered.

        That loses nothing: a segment is read from its beginning whenever it is asked for by its number, which
        is why the live edge is turned into one first.
        """
        if self._seq == LIVE_EDGE:
            await self._find_live_edge()
        session = self._open_session()
        url = segment_url(self._url, self._seq)
        while True:
            request = asyncio.ensure_future(session.get(url, headers=REQUEST_HEADERS, allow_redirects=False))
            try:
                await asyncio.wait([request], timeout=self._refresh_s)
            except asyncio.CancelledError:
                if not await _cancelled(request) and request.exception() is None:
                    request.result().close()
                raise
            if not await _cancelled(request):
                return request.result()

    async def _find_live_edge(self) -> None:
        limit = aiohttp.ClientTimeout(total=_NEXT_LIMIT_S)
        url = segment_url(self._url, "next")
        async with self._open_session().get(
            url, headers=REQUEST_HEADERS, allow_redirects=False, timeout=limit
        ) as response:
            latest = header_int(response, LATEST_HEADER)
            if response.status == 200 and latest is not None and latest >= 0:
                self._seq = latest

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._closed:
                raise aiohttp.ClientConnectionError("closed")
            self._session = trickle_session(self._addresses)
        return self._session

    def _end(self, reason: EndReason, error: TrickleError | AddressError | None = None) -> None:
        if self.end_reason is not None:
            return
        self.end_reason, self.error = reason, error
        if error is None:
            logger.info("%s is over: %s", self._name, reason.value)
        else:
            logger.warning("%s", error)


async def _cancelled(request: asyncio.Future[aiohttp.ClientResponse]) -> bool:
    """Give a request up; False if it was answered just before."""
    request.cancel()
    await asyncio.wait([request])
    return request.cancelled()

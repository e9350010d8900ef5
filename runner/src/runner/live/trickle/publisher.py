"""TricklePublisher: writes the segments of one trickle channel, with the next POST open ahead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType

import aiohttp

from ...errors import AddressError, ChannelGone, RunnerError, TrickleError
from .address import StreamAddresses, shown
from .post import Post, PostOptions
from .session import LATEST_HEADER, REQUEST_HEADERS, cause, header_int, segment_url, trickle_session

logger = logging.getLogger(__name__)

CLOSE_LIMIT_S = 2.0
_NEXT_LIMIT_S = 10.0
_DROP_LIMIT_S = 5.0
_OPTIONS = PostOptions()


class SegmentWriter:
    """Where one segment is written to. `TricklePublisher.next` makes it."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def write(self, data: bytes) -> None:
        """Send `data`, as soon as the server takes it; waits while too much of it waits.

        Raises:
            ChannelGone: there is no such channel (any more).
            TrickleError: the segment is lost: its connection broke off, the server refused it or took nothing
                for too long; or it is closed already. The next segment may still work.
        """
        await self._post.write(data)

    async def close(self) -> None:
        """The segment is whole. Does not wait for the server's answer (`done` does). Safe to call twice.

        Raises:
            ChannelGone, TrickleError: it is known to be lost.
        """
        self._post.end()
        self._post.check()

    async def done(self) -> None:
        """Wait until the server has said that it has all of the closed segment.

        Raises:
            ChannelGone, TrickleError: it has not.
        """
        await self._post.done()

    async def abort(self) -> None:
        """Drop the segment: readers get what has been sent of it, and its end. Safe to call twice."""
        self._post.fail(TrickleError(f"segment {self._post.seq} was dropped"))

    def seq(self) -> int:
        """Its number."""
        return self._post.seq

    async def __aenter__(self) -> SegmentWriter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.abort()


class TricklePublisher:
    """Writes a channel segment by segment (contract 1.3 and 1.6).

    While a segment is written, the POST of the next one waits at the server already. A request that fails before
    a byte of its segment went out is made again as long as its segment is the current one; a segment that failed
    later, or is not the current one any more, is lost, its readers are told so by a DELETE, and the next begins.

    Attributes:
        lost: how many segments were lost, those included whose loss was noticed only after they were closed.
        error: why the latest of them was.
    """

    def __init__(
        self,
        url: str,
        mime_type: str,
        *,
        session: aiohttp.ClientSession | None = None,
        addresses: StreamAddresses | None = None,
        start_seq: int | None = 0,
        options: PostOptions = _OPTIONS,
        close_limit_s: float = CLOSE_LIMIT_S,
    ) -> None:
        """Nothing is requested before the first `next`.

        Args:
            mime_type: of every segment, such as ``video/mp2t``.
            session: of `trickle_session`; by default one of its own, which is closed with it.
            addresses: what its own session may connect to.
            start_seq: of the first segment; None goes on where the channel's last publisher ended.
            options: limits of one segment.
            close_limit_s: for everything that `close` does.
        """
        self.lost = 0
        self.error: RunnerError | None = None
        self._url = url
        self._name = shown(url)
        self._mime_type = mime_type
        self._next_seq = start_seq
        self._options = options
        self._close_limit_s = close_limit_s
        self._addresses = addresses
        self._session = session
        self._owns_session = session is None
        self._gone: ChannelGone | AddressError | None = None
        self._closing: asyncio.Task[None] | None = None
        self._pending: Post | None = None
        self._posts: set[Post] = set()  # taken, and not answered yet
        self._drops: set[asyncio.Task[None]] = set()
        self._reset = False
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> TricklePublisher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def next(self) -> SegmentWriter:
        """Begin the next segment; its predecessor is no longer the current one.

        Waits only if the first number has to be asked for.

        Raises:
            ChannelGone: there is no such channel (any more).
            AddressError: it may not be connected to.
            TrickleError: the publisher is closed, or the server cannot say where to go on.
        """
        async with self._lock:
            self._check()
            if self._next_seq is None:
                self._next_seq = await self._ask_next()
                self._check()
            post = self._pending
            if post is None or post.error is not None:
                post = self._open_post(self._next_seq)
            for other in self._posts:
                other.supersede()
            self._posts.add(post)
            post.take()
            self._next_seq = post.seq + 1
            self._pending = self._open_post(self._next_seq)
        return SegmentWriter(post)

    def reset(self) -> None:
        """The next segment starts anew: the server closes all earlier ones, so that no reader hangs on them.

        For a publisher that begins again in the middle, `Lp-Trickle-Reset` of contract 1.3.
        """
        self._reset = True
        if self._pending is not None:
            seq = self._pending.seq
            self._pending.cancel()
            self._pending = self._open_post(seq)

    async def close(self, delete: bool = True) -> None:
        """Let what is under way get out, close the channel, and let go of everything; in `close_limit_s` at most.

        Args:
            delete: remove the channel, which is the end of the stream for its readers. Without it, the channel
                stays for another publisher.

        Safe to call twice, also at the same time.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(delete))
        await asyncio.shield(self._closing)

    # ---- requests ----------------------------------------------------------------------------

    def _open_post(self, seq: int) -> Post:
        reset, self._reset = self._reset, False
        return Post(
            self._open_session(), self._url, seq, self._mime_type, self._options, reset=reset, over=self._post_over
        )

    def _post_over(self, post: Post) -> None:
        """A request has come to its end, good or bad."""
        self._posts.discard(post)
        if post is self._pending:  # ended before it was taken: the next one opens another
            self._pending = None
        if post.error is None:
            return
        if isinstance(post.error, (ChannelGone, AddressError)):
            self._give_up(post.error)
        elif post.taken:
            self._lose(post, post.error)

    def _give_up(self, error: ChannelGone | AddressError) -> None:
        """Nothing more can be written."""
        if self._gone is None and self._closing is None:
            logger.info("%s", error)
        self._gone = self._gone or error
        for post in [*self._posts, *([self._pending] if self._pending else [])]:
            post.fail(error)

    def _lose(self, post: Post, error: RunnerError) -> None:
        self.lost += 1
        self.error = error
        logger.warning("%s", error)
        if self._closing is None:  # its readers are not to wait for the rest
            drop = asyncio.create_task(self._delete(segment_url(self._url, post.seq), _DROP_LIMIT_S))
            self._drops.add(drop)
            drop.add_done_callback(self._drops.discard)

    async def _ask_next(self) -> int:
        limit = aiohttp.ClientTimeout(total=_NEXT_LIMIT_S)
        url = segment_url(self._url, "next")
        try:
            async with self._open_session().get(
                url, headers=REQUEST_HEADERS, allow_redirects=False, timeout=limit
            ) as response:
                latest = header_int(response, LATEST_HEADER)
                if response.status == 404:
                    self._gone = ChannelGone(f"there is no channel {self._name} (any more)")
                    raise self._gone
                if response.status != 200 or latest is None or latest < 0:
                    raise TrickleError(
                        f"{self._name} does not say where to go on (answer {response.status}); start at a number"
                    )
                return latest
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise TrickleError(f"{self._name} cannot be asked where to go on: {cause(error)}") from error

    async def _delete(self, url: str, limit_s: float) -> None:
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._open_session().delete(
                url, headers=REQUEST_HEADERS, allow_redirects=False, timeout=limit
            ) as response:
                logger.debug("DELETE %s: %d", shown(url), response.status)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, AddressError, RuntimeError) as error:
            logger.info("DELETE %s has failed: %s", shown(url), cause(error))

    async def _close(self, delete: bool) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._close_limit_s
        posts, pending = list(self._posts), self._pending
        for post in posts:
            post.end()
        # What is under way gets half of the time; the DELETE must get out too.
        await _wait((post.task for post in posts), self._close_limit_s / 2)
        if delete and self._gone is None:
            await self._delete(self._url, max(0.1, deadline - loop.time()))
        if pending is not None:
            pending.end()
            await _wait([pending.task], max(0.1, deadline - loop.time()))
        for post in [*posts, *([pending] if pending else [])]:
            post.cancel()
        for drop in self._drops:
            drop.cancel()
        await _wait([*(post.task for post in posts), *([pending.task] if pending else []), *self._drops], None)
        self._posts.clear()
        self._pending = None
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = trickle_session(self._addresses)
        return self._session

    def _check(self) -> None:
        if self._gone is not None:
            raise type(self._gone)(str(self._gone)) from self._gone
        if self._closing is not None:
            raise TrickleError(f"the publisher of {self._name} is closed")


async def _wait(tasks: Iterable[asyncio.Task[None]], limit_s: float | None) -> None:
    if waiting := list(tasks):
        await asyncio.wait(waiting, timeout=limit_s)

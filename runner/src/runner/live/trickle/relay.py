"""TrickleRelay: a trickle server on this machine, with the semantics of the network's own one.

``python -m runner.live.trickle.relay --port 8935 --autocreate`` runs one by itself.

It follows contract 1.1 to 1.5 to the letter, quirks included: headers come with a segment's first byte, the
head moves back where a number is written again, and numbers that make the network's server panic drop the
connection here too. Like that server it tells a publisher each 10 s that it still waits (``100 Continue``).
What it adds are limits: bytes of a segment, channels, and how long a reader may take nothing. What it cannot do:
a body whose chunks are malformed is not answered with 500, because aiohttp's parser keeps that to itself; such a
request ends with its connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Callable

import aiohttp
from aiohttp import web
from aiohttp.http import HttpProcessingError

from ...errors import TrickleError
from .relay_channel import ChannelStatistics, RelayChannel, RelaySegment
from .session import CLOSED_HEADER, LATEST_HEADER, RESET_HEADER, SEGMENT_MISSING, SEQ_HEADER

logger = logging.getLogger(__name__)

BASE_PATH = "/ai/trickle/"
CHANGES_CHANNEL = "_changes"
SEGMENT_LIMIT_BYTES = 64 << 20
CHANNELS_LIMIT = 1024
IDLE_LIMIT_S = 300.0  # a channel on which nothing began for so long is closed
SWEEP_S = 60.0
PROVISIONAL_S = 10.0  # between two ``100 Continue``
STALL_LIMIT_S = 30.0  # for a reader that takes nothing

_SEQ = re.compile(r"[+-]?[0-9]{1,18}")
_WRITE_BYTES = 64 * 1024  # given to a reader at once; each reader holds no more than about two of these
_END_LIMIT_S = 0.5  # for requests that are still answered when the relay ends
_NO_STREAM = "Stream not found"
_ENDED = {CLOSED_HEADER: "terminated"}


class TrickleRelay:
    """Takes segments from publishers and passes them on to any number of readers, as they come.

    Use::

        relay = TrickleRelay()
        await relay.start()
        relay.create("in", "video/mp2t")  # publish to and subscribe from relay.url + "in"
        ...
        await relay.close()
    """

    def __init__(
        self,
        *,
        base_path: str = BASE_PATH,
        autocreate: bool = False,
        changefeed: bool = False,
        idle_limit_s: float = IDLE_LIMIT_S,
        sweep_s: float = SWEEP_S,
        provisional_s: float = PROVISIONAL_S,
        stall_limit_s: float = STALL_LIMIT_S,
        segment_limit_bytes: int = SEGMENT_LIMIT_BYTES,
        channels_limit: int = CHANNELS_LIMIT,
        first_byte: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Listens to nothing before `start`.

        Args:
            base_path: of every channel, with a slash at both ends.
            autocreate: make a channel when somebody posts to it. An orchestrator does not.
            changefeed: tell in channel `_changes` which channels come and go. An orchestrator does not.
            segment_limit_bytes: of memory for one segment; a longer one is refused with 413 and ends there.
            channels_limit: more are refused with 503.
            first_byte: called with channel, segment and `time.monotonic_ns()` when a segment's first byte comes.
        """
        self._base_path = base_path
        self._autocreate = autocreate
        self._changefeed = changefeed
        self._idle_limit_s, self._sweep_s = idle_limit_s, sweep_s
        self._provisional_s, self._stall_limit_s = provisional_s, stall_limit_s
        self._segment_limit_bytes, self._channels_limit = segment_limit_bytes, channels_limit
        self._first_byte = first_byte
        self._channels: dict[str, RelayChannel] = {}
        self._runner: web.AppRunner | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._address = ("", 0)

    @property
    def url(self) -> str:
        """Where it is, ending in a slash; a channel's URL is this and its name."""
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._base_path}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            TrickleError: the address can't be had.
        """
        app = web.Application()
        channel = self._base_path + "{channel}"
        app.router.add_post(channel, self._create)
        app.router.add_delete(channel, self._delete)
        app.router.add_get(channel + "/next", self._next)
        app.router.add_get(channel + "/{seq}", self._read, allow_head=False)
        app.router.add_post(channel + "/{seq}", self._write)
        app.router.add_delete(channel + "/{seq}", self._drop)
        # A request whose peer has gone is cancelled: a reader may wait for a segment for minutes.
        runner = web.AppRunner(
            app, handler_cancellation=True, auto_decompress=False, access_log=None, shutdown_timeout=_END_LIMIT_S
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise TrickleError(
                f"the relay cannot listen on {host}:{port}: {error.strerror or error}; port 0 takes a free one"
            ) from error
        self._runner = runner
        self._address = (host, runner.addresses[0][1])
        if self._changefeed:
            self.create(CHANGES_CHANNEL, "application/json")
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Close all channels, so that publishers and readers are told, and stop listening. Safe to call twice."""
        for name in list(self._channels):
            self.close_channel(name)
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait([sweeping])
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def create(self, name: str, mime_type: str) -> None:
        """Make a channel; nothing happens where it is there already.

        Raises:
            TrickleError: there are too many.
        """
        if name in self._channels:
            return
        if len(self._channels) >= self._channels_limit:
            raise TrickleError(f"the relay has {len(self._channels)} channels, no more are allowed; close some")
        self._channels[name] = RelayChannel(name, mime_type, self._now())
        self._tell_change("added", name)

    def close_channel(self, name: str) -> bool:
        """Close and remove a channel: its readers get to its end. False if there is none."""
        channel = self._channels.pop(name, None)
        if channel is None:
            return False
        channel.close()
        self._tell_change("removed", name)
        return True

    def channels(self) -> list[ChannelStatistics]:
        """What has happened on each channel so far."""
        return [channel.statistics(self._now()) for channel in self._channels.values()]

    # ---- channels ----------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        refusal = self._ensure(request, request.headers.get("Expect-Content", ""))
        return web.Response() if refusal is None else refusal

    async def _delete(self, request: web.Request) -> web.Response:
        if not self.close_channel(request.match_info["channel"]):
            return web.Response(status=400, text="Invalid stream\n")
        return web.Response()

    async def _next(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if channel is None:
            return _refusal(404, _NO_STREAM)
        return web.Response(text=str(channel.head), headers={LATEST_HEADER: str(channel.head)})

    async def _drop(self, request: web.Request) -> web.StreamResponse:
        channel = self._find(request)
        if channel is None:
            return _refusal(404, _NO_STREAM)
        seq = _seq(request)
        if seq is None:
            return _refusal(400, "Invalid idx")
        if seq < 0:
            return _hang_up(request)
        segment = channel.find(seq)
        if segment is None:
            return _refusal(400, "Nonexistent segment")
        segment.close()
        return web.Response()

    def _find(self, request: web.Request) -> RelayChannel | None:
        return self._channels.get(request.match_info["channel"])

    def _ensure(self, request: web.Request, mime_type: str) -> web.Response | None:
        """Make the channel if that is wanted; the answer where there is none then."""
        name = request.match_info["channel"]
        if name in self._channels:
            return None
        if not self._autocreate:
            return _refusal(404, _NO_STREAM, close=True)  # closing wakes publishers that wait with an open request
        try:
            self.create(name, mime_type)
        except TrickleError as error:
            return _refusal(503, str(error), close=True)
        return None

    def _tell_change(self, change: str, name: str) -> None:
        feed = self._channels.get(CHANGES_CHANNEL)
        if feed is None:
            return
        segment = feed.for_write(-1)
        feed.began(segment, self._now())
        segment.append(json.dumps({change: [name]}, separators=(",", ":")).encode())
        segment.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            oldest = self._now() - self._idle_limit_s
            for channel in list(self._channels.values()):
                if channel.written_at < oldest and not channel.name.startswith("_"):
                    self.close_channel(channel.name)
                    logger.info("closed a channel on which nothing began for %g s", self._idle_limit_s)

    # ---- publishers --------------------------------------------------------------------------

    async def _write(self, request: web.Request) -> web.StreamResponse:
        refusal = self._ensure(request, request.headers.get("Content-Type", ""))
        if refusal is not None:
            return refusal
        channel = self._channels[request.match_info["channel"]]
        seq = _seq(request)
        if seq is None:
            return _refusal(400, "Invalid idx")
        if seq < -1:
            return _hang_up(request)
        segment = channel.for_write(seq)
        if request.headers.get(RESET_HEADER):
            channel.close_before(segment.seq)
        return await self._take(request, channel, segment)

    async def _take(self, request: web.Request, channel: RelayChannel, segment: RelaySegment) -> web.Response:
        """All of a request's body into the segment."""
        headers = {SEQ_HEADER: str(segment.seq)}
        try:
            data = await self._first_data(request, segment)
            if not data:
                channel.began(segment, self._now())
                segment.close()
                return _closing(200, {**headers, **(_ENDED if channel.closed else {})})
            channel.began(segment, self._now())
            if self._first_byte is not None:
                self._first_byte(channel.name, segment.seq, time.monotonic_ns())
            while data:
                if len(segment) + len(data) > self._segment_limit_bytes:
                    segment.close()
                    return _refusal(413, f"a segment may have {self._segment_limit_bytes} bytes", close=True)
                channel.bytes_in += len(data)
                segment.append(data)
                data = await request.content.readany()
        except (HttpProcessingError, aiohttp.ClientError) as error:
            # Not closed: the publisher may come again, and what it sends then is added.
            logger.info("a segment's body cannot be read: %s", type(error).__name__)
            return _refusal(500, "Server error", close=True)
        segment.close()
        return web.Response(headers=headers)

    async def _first_data(self, request: web.Request, segment: RelaySegment) -> bytes:
        """The first bytes; ``b""`` if the body ends without any, or the segment is closed while it waits."""
        if segment.closed:
            return b""
        reading = asyncio.ensure_future(request.content.readany())
        closing = asyncio.ensure_future(segment.wait_closed())
        try:
            while True:
                done, _ = await asyncio.wait(
                    [reading, closing], timeout=self._provisional_s, return_when=asyncio.FIRST_COMPLETED
                )
                if reading in done:
                    return reading.result()
                if closing in done:
                    return b""
                if request.version >= (1, 1) and request.transport is not None:
                    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        finally:
            for task in (reading, closing):
                task.cancel()
            await asyncio.gather(reading, closing, return_exceptions=True)

    # ---- readers -----------------------------------------------------------------------------

    async def _read(self, request: web.Request) -> web.StreamResponse:
        channel = self._find(request)
        if channel is None:
            return _refusal(404, _NO_STREAM)
        seq = _seq(request)
        if seq is None:
            return _refusal(400, "Invalid idx")
        if seq < -2:
            return _hang_up(request)
        head = channel.head
        segment = channel.for_read(seq)
        if segment is None:
            headers = {SEQ_HEADER: str(seq), LATEST_HEADER: str(head)}
            return web.Response(status=SEGMENT_MISSING, text="Entry not found", headers=headers)
        channel.readers += 1
        try:
            return await self._give(request, channel, segment, head)
        finally:
            channel.readers -= 1

    async def _give(
        self, request: web.Request, channel: RelayChannel, segment: RelaySegment, head: int
    ) -> web.StreamResponse:
        """All of the segment, as it comes; the headers with its first byte."""
        data = await segment.read(0, _WRITE_BYTES)
        headers = {SEQ_HEADER: str(segment.seq)}
        if not data:
            headers[LATEST_HEADER] = str(channel.head)
            return web.Response(headers={**headers, **(_ENDED if channel.closed else {})})
        if segment.seq != head:
            headers[LATEST_HEADER] = str(head)
        response = web.StreamResponse(headers=headers)
        response.headers["Content-Type"] = channel.mime_type
        response.enable_chunked_encoding()
        await response.prepare(request)
        sent = 0
        while data:
            await self._send(request, response, data)
            sent += len(data)
            channel.bytes_out += len(data)
            data = await segment.read(sent, _WRITE_BYTES)
        await response.write_eof()
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        """Waits for a slow reader, but not for one that takes nothing: it keeps a segment in memory."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the reader has gone")
        alarm = asyncio.get_running_loop().call_later(self._stall_limit_s, transport.abort)
        try:
            await response.write(data)
        finally:
            alarm.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _seq(request: web.Request) -> int | None:
    text = request.match_info["seq"]
    return int(text) if _SEQ.fullmatch(text) else None


def _refusal(status: int, text: str, *, close: bool = False) -> web.Response:
    response = web.Response(status=status, text=text + "\n")
    if close:
        response.force_close()
    return response


def _closing(status: int, headers: dict[str, str]) -> web.Response:
    response = web.Response(status=status, headers=headers)
    response.force_close()
    return response


def _hang_up(request: web.Request) -> web.Response:
    """Drop the connection without an answer, as the network's server does for numbers that make it panic."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def main(arguments: list[str] | None = None) -> int:
    """Run a relay until SIGINT or SIGTERM; the exit code: 0 ended in order, 1 it cannot listen."""
    parser = argparse.ArgumentParser(prog="python -m runner.live.trickle.relay", description="Run a trickle server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--autocreate", action="store_true", help="make channels when somebody posts to them")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(options.host, options.port, autocreate=options.autocreate))
    except TrickleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(host: str, port: int, *, autocreate: bool) -> None:
    relay = TrickleRelay(autocreate=autocreate)
    await relay.start(host, port)
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    with contextlib.suppress(BrokenPipeError):
        print(relay.url, flush=True)
    try:
        await asked.wait()
    finally:
        await relay.close()


if __name__ == "__main__":
    sys.exit(main())

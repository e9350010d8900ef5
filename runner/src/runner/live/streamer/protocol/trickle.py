"""TrickleProtocol: the network's way in and out: video, params and events on four trickle channels.

Contract parts 1, 2 and 5: the orchestrator makes the channels, the runner reads two and writes two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ....errors import AddressError, ChannelGone, RunnerError, StreamError, TrickleError
from ...plain_json import plain_json
from ...trickle.address import StreamAddresses, shown
from ...trickle.frame import AudioFrame, RawFrame
from .protocol import ProtocolStatistics, SourceInfo, StreamProtocol, StreamRequest
from .trickle_input import TrickleInput
from .trickle_output import MEDIA_TYPE, TrickleOutput

if TYPE_CHECKING:
    import aiohttp

    from ...trickle.codecs import Hardware
    from ...trickle.publisher import TricklePublisher

logger = logging.getLogger(__name__)

JSON_TYPE = "application/json"
CONTROL_LIMIT_BYTES = 1 << 20  # one message of params
EVENTS_KEPT = 200  # that wait for a server which does not take them; then the oldest go
TOLD_LIMIT_S = 1.0  # for the last events, when the stream is over
KEEPALIVE = {"keep": "alive"}


@dataclass(frozen=True, slots=True)
class TrickleOptions:
    """How streams of the network are handled.

    Attributes:
        max_fps: pictures per second of presentation time that are let in, None for all. 24 is the network's.
        hardware: whether decoding and encoding is done by the GPU: ``auto``, ``hardware`` or ``software``.
        addresses: which URLs may be connected to.
        verify_tls: refuse certificates that nobody has signed; orchestrators use their own ones.
    """

    max_fps: float | None = 24.0
    hardware: Hardware = "auto"
    addresses: StreamAddresses = field(default_factory=StreamAddresses)
    verify_tls: bool = False


class TrickleProtocol(StreamProtocol):
    """One stream between trickle channels.

    Attributes:
        statistics: reasons in ``dropped``: ``rate`` (above `TrickleOptions.max_fps`), ``source`` (a newer picture
            came before this one was taken), ``publisher`` (could not keep up), ``timestamp``, ``no_timestamp``.
    """

    networked = True

    def __init__(self, request: StreamRequest, options: TrickleOptions) -> None:
        self.request = request
        self.options = options
        self.statistics = ProtocolStatistics(max_fps=options.max_fps)
        self._requested_ms = _now_ms()
        self._session: aiohttp.ClientSession | None = None
        self._input: TrickleInput | None = None
        self._output: TrickleOutput | None = None
        self._events: EventsChannel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._params: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)

    async def open(self, width: int, height: int) -> SourceInfo:
        from ...trickle.publisher import TricklePublisher
        from ...trickle.session import trickle_session
        from ...trickle.subscriber import TrickleSubscriber

        request, addresses = self.request, self.options.addresses
        for url in filter(None, (request.source, request.sink, request.control_url, request.events_url)):
            addresses.check(url)
        self._session = session = trickle_session(addresses, verify_tls=self.options.verify_tls)
        if request.events_url:
            self._events = EventsChannel(TricklePublisher(request.events_url, JSON_TYPE, session=session))
            self._trace("runner_receive_stream_request", self._requested_ms)
        self._input = TrickleInput(
            TrickleSubscriber(request.source, session=session),
            width,
            height,
            self.statistics,
            policy=request.policy,
            max_fps=self.options.max_fps,
            hardware=self.options.hardware,
            first_segment_read=lambda: self._trace("runner_receive_first_ingest_segment"),
        )
        if request.sink:
            self._output = TrickleOutput(
                TricklePublisher(request.sink, MEDIA_TYPE, session=session),
                self.statistics,
                policy=request.policy,
                hardware=self.options.hardware,
                first_bytes=lambda: self._trace("runner_send_first_processed_segment"),
                encoded=self._encoded,
            )
        if request.control_url:
            channel = TrickleSubscriber(request.control_url, session=session, newest_counts=True)
            self._tasks.append(asyncio.create_task(self._read_control(channel)))
        return SourceInfo(shown(request.source), 0, 0, live=True)

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        assert self._input is not None, "open() comes first"
        while (frame := await self._input.get()) is not None:
            yield frame

    def pause(self, paused: bool) -> None:
        """A live stream goes on either way."""

    async def put(self, frame: RawFrame | AudioFrame) -> None:
        if self._output is not None and self._input is not None:
            await self._output.put(frame, self._input.audio, self.options.max_fps)

    def resize(self, width: int, height: int) -> bool:
        if self._input is not None:
            self._input.resize(width, height)
        return True

    async def control(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._params.get()

    def tell(self, event: dict[str, Any], kind: str) -> None:
        if self._events is not None:
            stamped = {**event, "timestamp": event.get("timestamp", _now_ms())}
            self._events.put({"event": stamped, "queue_event_type": kind})

    async def finish(self) -> None:
        await self._end_output()  # where that fails, the events channel stays open for the reason
        await self.close()

    async def _end_output(self) -> None:
        """Publish what is pending, and close the channel."""
        output, self._output = self._output, None
        if output is not None:
            await output.finish()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        parts = [part for part in (self._input, self._output, self._events) if part is not None]
        session = self._session
        self._input = self._output = self._events = self._session = None
        # At the same time: with a server that has fallen silent each of them takes all of its time.
        await asyncio.gather(*self._tasks, *(part.close() for part in parts), return_exceptions=True)
        if session is not None:
            await session.close()

    def _encoded(self, frame: RawFrame) -> None:
        """The encoder has taken a picture; in its thread."""

    # ---- events and control ------------------------------------------------------------------

    def _trace(self, name: str, at_ms: int | None = None) -> None:
        self.tell({"type": name, "timestamp": at_ms or _now_ms()}, "stream_trace")

    async def _read_control(self, channel: Any) -> None:
        """Keep the newest params; whatever else comes on the channel is passed over."""
        try:
            while (segment := await channel.next()) is not None:
                params = _message(await _whole(segment))
                if params is None or params == KEEPALIVE:
                    continue
                if self._params.full():
                    self._params.get_nowait()
                self._params.put_nowait(params)
        except StreamError as error:
            logger.warning("params can no longer be read: %s", error)
        finally:
            await channel.close()


class EventsChannel:
    """Publishes JSON objects, one a segment, in their order, in the background."""

    def __init__(self, publisher: TricklePublisher) -> None:
        self._publisher = publisher
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._over = False
        self._task = asyncio.create_task(self._publish())

    def put(self, event: dict[str, Any]) -> None:
        """Publish it soon; nothing happens once the channel is gone."""
        if self._over:
            return
        if self._events.qsize() >= EVENTS_KEPT:
            self._events.get_nowait()
        self._events.put_nowait(event)

    async def close(self) -> None:
        """Publish what waits, within a moment, and close the channel."""
        self._events.put_nowait(None)
        await asyncio.wait([self._task], timeout=TOLD_LIMIT_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RunnerError):
            await self._publisher.close()

    async def _publish(self) -> None:
        while (event := await self._events.get()) is not None:
            try:
                segment = await self._publisher.next()
                await segment.write(plain_json(event))
                await segment.close()
                await segment.done()  # a server keeps five segments; it is not to be overrun
            except (AddressError, ChannelGone) as error:
                self._over = True
                logger.warning("events can no longer be published: %s", error)
                return
            except TrickleError as error:
                logger.warning("an event could not be published: %s", error)


async def _whole(segment: Any) -> bytes:
    """All of a segment, as far as the limit goes; the rest is not read."""
    data = bytearray()
    while chunk := await segment.read():
        data += chunk
        if len(data) > CONTROL_LIMIT_BYTES:
            await segment.close()
            logger.warning("a message of more than %d bytes on the control channel is left out", CONTROL_LIMIT_BYTES)
            return b""
    return bytes(data)


def _message(data: bytes) -> dict[str, Any] | None:
    if not data.strip():
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        logger.warning("what came on the control channel is not JSON (%d bytes); it is left out", len(data))
        return None
    if not isinstance(message, dict):
        logger.warning("what came on the control channel is no JSON object; it is left out")
        return None
    return message


def _now_ms() -> int:
    return int(time.time() * 1000)

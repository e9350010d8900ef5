"""Network: the far end of a stream: a relay with the four channels of one session, a publisher, a viewer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import av
import numpy as np

from ..errors import SourceError
from ..live.streamer.protocol.local import LocalProtocol
from ..live.streamer.protocol.protocol import ProtocolStatistics, StreamRequest
from ..live.streamer.protocol.trickle_input import TrickleInput
from ..live.streamer.protocol.trickle_output import TrickleOutput
from ..live.trickle.address import StreamAddresses
from ..live.trickle.decoder import AudioFormat
from ..live.trickle.frame import DEFAULT_HEIGHT, DEFAULT_WIDTH, AudioFrame, RawFrame
from ..live.trickle.pattern import TestPattern, read_frame_number
from ..live.trickle.publisher import TricklePublisher
from ..live.trickle.relay import TrickleRelay
from ..live.trickle.session import trickle_session
from ..live.trickle.subscriber import TrickleSubscriber

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIME_BASE = Fraction(1, 90_000)
SOUND = AudioFormat(48_000, "stereo")
VIDEO_TYPE, JSON_TYPE = "video/mp2t", "application/json"


@dataclass
class Seen:
    """What has come back.

    Attributes:
        keep: whether `pictures` are kept.
        numbers: of the pictures; None for those that have none to be read, such as loading pictures.
        pts: their presentation times, in 1/90000 s. came_ns: when they were decoded, `time.monotonic_ns()`.
        pictures: themselves, uint8 (H, W, 3).
        sound_s: presentation times of the pieces of sound.
    """

    keep: bool = False
    numbers: list[int | None] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    came_ns: list[int] = field(default_factory=list)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    sound_s: list[float] = field(default_factory=list)


class Network:
    """The far ends of one session's four channels: what a gateway does, and an orchestrator's trickle server.

    Attributes:
        urls: of the channels, by the names that a runner is told them by.
        sent_ns: presentation time of each picture sent, in 1/90000 s -> `time.monotonic_ns()`.
    """

    def __init__(self, relay: TrickleRelay, session: aiohttp.ClientSession, name: str) -> None:
        self.relay = relay
        self.session = session
        self.name = name
        base = relay.url + name
        self.urls = {
            "subscribe_url": base,
            "publish_url": f"{base}-out",
            "control_url": f"{base}-control",
            "events_url": f"{base}-events",
        }
        for url, kind in zip(self.urls.values(), (VIDEO_TYPE, VIDEO_TYPE, JSON_TYPE, JSON_TYPE), strict=True):
            relay.create(url.removeprefix(relay.url), kind)
        self.sent_ns: dict[int, int] = {}
        self.control = TricklePublisher(self.urls["control_url"], JSON_TYPE, session=session)

    @property
    def port(self) -> int:
        """Of the relay."""
        port = urlsplit(self.relay.url).port
        assert port is not None
        return port

    async def wait_for_reader(self) -> None:
        """Until the runner waits for its input: what is published and closed sooner is never seen."""
        while not any(channel.readers for channel in self.relay.channels() if channel.name == self.name):
            await asyncio.sleep(0.005)

    async def send_params(self, message: Any) -> None:
        """One message on the control channel."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        segment = await self.control.next()
        await segment.write(data)
        await segment.close()
        await segment.done()

    async def send(self, source: str, *, frames: int | None = None, loop: bool = False) -> None:
        """Publish a clip or a pattern, fitted to 512x512, at its own speed, and end the stream.

        Args:
            source: a file's path, or ``pattern:WxH@FPS``; what `LocalProtocol` takes.
            frames: end after so many pictures.
            loop: begin a file again at its end.

        Raises:
            SourceError: the source cannot be read. SinkError: the channel is gone.
        """
        local = LocalProtocol(StreamRequest(source, policy="lossless", max_frames=frames, loop=loop))
        info = await local.open(DEFAULT_WIDTH, DEFAULT_HEIGHT)
        output = self._output()
        try:
            async for frame in local.frames():
                await self._put(output, frame, local.audio, info.fps)
        finally:
            await output.finish()
            await local.close()

    async def publish(
        self, frames: int, *, fps: int = 24, size: tuple[int, int] = (320, 240), sound: bool = False, speed: float = 1.0
    ) -> None:
        """Publish numbered pictures, and end the stream.

        `speed`: times as fast as they are to be shown; 0 is as fast as it goes.
        """
        output = self._output()
        pattern = TestPattern(*size, Fraction(fps))
        audio = SOUND if sound else None
        try:
            for number in range(frames):
                if sound:
                    for piece in _sound(number, fps):
                        await self._put(output, piece, audio, fps)
                await self._put(output, RawFrame(pattern.picture(number), number, Fraction(1, fps), number), audio, fps)
                await asyncio.sleep(1 / fps / speed if speed else 0)
        finally:
            await output.finish()

    def _output(self) -> TrickleOutput:
        publisher = TricklePublisher(self.urls["subscribe_url"], VIDEO_TYPE, session=self.session)
        return TrickleOutput(publisher, ProtocolStatistics(), policy="lossless")

    async def _put(
        self, output: TrickleOutput, frame: RawFrame | AudioFrame, audio: AudioFormat | None, fps: float | None
    ) -> None:
        if isinstance(frame, RawFrame):
            self.sent_ns[round(frame.pts * frame.time_base / TIME_BASE)] = time.monotonic_ns()
        await output.put(frame, audio, fps)

    async def watch(self, seen: Seen, size: tuple[int, int] = (512, 512)) -> Seen:
        """Note what comes out, to its end."""
        source = TrickleInput(
            TrickleSubscriber(self.urls["publish_url"], session=self.session),
            *size,
            ProtocolStatistics(),
            policy="lossless",
        )
        try:
            while (frame := await _next(source)) is not None:
                if isinstance(frame, AudioFrame):
                    seen.sound_s.append(float(frame.timestamp * frame.time_base))
                else:
                    seen.numbers.append(read_frame_number(frame.pixels))
                    seen.pts.append(frame.pts)
                    seen.came_ns.append(frame.stamps["captured"])
                    if seen.keep:
                        seen.pictures.append(frame.pixels.copy())
        finally:
            await source.close()
        return seen

    async def events(self, heard: list[dict[str, Any]]) -> None:
        """Note what is told on the events channel, to its end."""
        async with TrickleSubscriber(self.urls["events_url"], session=self.session) as channel:
            while (segment := await channel.next()) is not None:
                data = b""
                while chunk := await segment.read():
                    data += chunk
                if data:
                    heard.append(json.loads(data))


async def _next(source: TrickleInput) -> RawFrame | AudioFrame | None:
    """The next frame; None also where the channel was closed before anybody looked."""
    try:
        return await source.get()
    except SourceError:
        return None


def _sound(number: int, fps: int) -> list[AudioFrame]:
    """The sound that belongs to one picture: a tone."""
    samples = SOUND.rate // fps
    at = number * samples
    tone = np.sin((np.arange(samples) + at) * 2 * np.pi * 440 / SOUND.rate).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND.rate, at, Fraction(1, SOUND.rate)
    return [AudioFrame(frame)]


@asynccontextmanager
async def network(name: str = "3f2a", host: str = "127.0.0.1") -> AsyncIterator[Network]:
    """A relay that listens on a free port of `host`, with one session's channels."""
    relay = TrickleRelay()
    await relay.start(host)
    try:
        async with trickle_session(StreamAddresses()) as session:
            made = Network(relay, session, name)
            yield made
            await made.control.close()
    finally:
        await relay.close()

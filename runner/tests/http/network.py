"""The network's end of a stream: a relay with the four channels of one session, a publisher, a viewer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import av
import numpy as np

from runner.errors import SourceError
from runner.live.streamer.protocol.protocol import ProtocolStatistics
from runner.live.streamer.protocol.trickle_input import TrickleInput
from runner.live.streamer.protocol.trickle_output import TrickleOutput
from runner.live.trickle.address import StreamAddresses
from runner.live.trickle.decoder import AudioFormat
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.pattern import TestPattern, read_frame_number
from runner.live.trickle.publisher import TricklePublisher
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.session import trickle_session
from runner.live.trickle.subscriber import TrickleSubscriber

SOUND = AudioFormat(48_000, "stereo")
VIDEO_TYPE, JSON_TYPE = "video/mp2t", "application/json"


@dataclass
class Seen:
    """What has come back. `numbers`: of the pictures; loading pictures have none."""

    numbers: list[int | None] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    sound_s: list[float] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)


class Network:
    """Both ends of one session's channels."""

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

    async def publish(
        self, frames: int, *, fps: int = 24, size: tuple[int, int] = (320, 240), sound: bool = False, speed: float = 1.0
    ) -> None:
        """Publish numbered pictures, and end the stream.

        `speed`: times as fast as they are to be shown; 0 is as fast as it goes.
        """
        output = TrickleOutput(
            TricklePublisher(self.urls["subscribe_url"], VIDEO_TYPE, session=self.session),
            ProtocolStatistics(),
            policy="lossless",
        )
        pattern = TestPattern(*size, Fraction(fps))
        audio = SOUND if sound else None
        try:
            for number in range(frames):
                if sound:
                    for piece in _sound(number, fps):
                        await output.put(piece, audio, fps)
                await output.put(RawFrame(pattern.picture(number), number, Fraction(1, fps), number), audio, fps)
                await asyncio.sleep(1 / fps / speed if speed else 0)
        finally:
            await output.finish()

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
async def network(name: str = "3f2a") -> AsyncIterator[Network]:
    """A relay that listens, with one session's channels."""
    relay = TrickleRelay()
    await relay.start()
    try:
        async with trickle_session(StreamAddresses()) as session:
            made = Network(relay, session, name)
            yield made
            await made.control.close()
    finally:
        await relay.close()

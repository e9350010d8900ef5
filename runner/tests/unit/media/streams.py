"""MPEG transport streams for the tests of the trickle media, made by FFmpeg, picture by picture."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from runner.live.trickle.byte_pipe import BytePipe
from runner.live.trickle.frame import AudioFrame, RawFrame
from runner.live.trickle.input_decoder import InputDecoder
from runner.live.trickle.pattern import TestPattern, read_frame_number

CLOCK_HZ = 90_000
SIZE = (128, 96)


class _Bytes:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data += bytes(data)
        return len(data)

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data


def make_stream(
    pts: Sequence[int],
    *,
    video: str | None = "libx264",
    audio: str | None = None,
    size: tuple[int, int] = SIZE,
    first_number: int = 0,
    b_frames: int = 0,
    muxer: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    key_every: int = 15,
) -> list[bytes]:
    """One part of bytes per picture, each whole, with the pts given (in 1/90000 s), and sound beside it."""
    out = _Bytes()
    options = {"mpegts_copyts": "1", "flush_packets": "1", "max_delay": "0", "pes_payload_size": "0"} | (muxer or {})
    container = av.open(out, "w", format="mpegts", options=options)
    picture_stream: Any = None
    if video is not None:
        fast = {"preset": "ultrafast", "bf": str(b_frames), "g": str(key_every)}
        if video == "libx265":
            fast["x265-params"] = "log-level=none:bframes=0:rc-lookahead=0:pools=none:frame-threads=1:keyint=15"
        elif not b_frames:
            fast["tune"] = "zerolatency"
        picture_stream = container.add_stream(video, rate=30, options=fast | (codec_options or {}))
        picture_stream.width, picture_stream.height, picture_stream.pix_fmt = *size, "yuv420p"
        picture_stream.codec_context.time_base = Fraction(1, CLOCK_HZ)
    sound: Any = None
    if audio is not None:
        sound = container.add_stream(audio, rate=48_000, layout="stereo")
    pattern = TestPattern(*size)
    parts = []
    samples = 0
    for number, time in enumerate(pts):
        while sound is not None and samples * CLOCK_HZ // 48_000 <= time - pts[0]:
            container.mux(sound.encode(_tone(samples, round(pts[0] * 48_000 / CLOCK_HZ))))
            samples += 960
        if picture_stream is not None:
            picture = av.VideoFrame.from_ndarray(pattern.picture(first_number + number), "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, CLOCK_HZ)
            container.mux(picture_stream.encode(picture))
        parts.append(out.take())
    for stream in (picture_stream, sound):
        if stream is not None:
            container.mux(stream.encode(None))
    container.close()
    parts.append(out.take())
    return parts


def _tone(begin: int, offset: int) -> av.AudioFrame:
    wave = (np.sin(np.arange(begin, begin + 960) * 0.06) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], "s16", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, begin + offset, Fraction(1, 48_000)
    return frame


def without_time(part: bytes) -> bytes:
    """A part of `make_stream` whose video PES packet has no timestamps: stuffing takes their place."""
    packets = bytearray(part)
    for begin in range(0, len(packets), 188):
        pid = (packets[begin + 1] & 0x1F) << 8 | packets[begin + 2]
        if pid == 0x100 and packets[begin + 1] & 0x40:
            adaptation_bytes = 1 + packets[begin + 4] if packets[begin + 3] & 0x20 else 0
            header = begin + 4 + adaptation_bytes
            stamps = slice(header + 9, header + 9 + packets[header + 8])
            packets[header + 7] &= 0x3F
            packets[stamps] = b"\xff" * (stamps.stop - stamps.start)
    return bytes(packets)


class Source:
    """Gives bytes as a network would: pieces of odd sizes."""

    def __init__(self, data: bytes, sizes: Sequence[int] = (32_768, 1, 187, 4096, 189, 1316)) -> None:
        self._data = data
        self._sizes = sizes
        self._reads = 0

    def read(self, size: int) -> bytes:
        wanted = min(size, self._sizes[self._reads % len(self._sizes)])
        self._reads += 1
        piece, self._data = self._data[:wanted], self._data[wanted:]
        return piece


@dataclass
class Decoded:
    """What came out of a decoder, in order."""

    decoder: InputDecoder
    items: list[RawFrame | AudioFrame]

    @property
    def pictures(self) -> list[RawFrame]:
        return [item for item in self.items if isinstance(item, RawFrame)]

    @property
    def sounds(self) -> list[AudioFrame]:
        return [item for item in self.items if isinstance(item, AudioFrame)]

    @property
    def pts(self) -> list[int]:
        return [picture.pts for picture in self.pictures]

    @property
    def numbers(self) -> list[int | None]:
        return [read_frame_number(picture.pixels) for picture in self.pictures]


def decode(data: bytes, **options: Any) -> Decoded:
    """All that comes out of these bytes, 96x96, without a frame rate cap unless one is given."""
    decoder = InputDecoder(Source(data), 96, 96, **{"max_fps": None, "hardware": "software", **options})
    return Decoded(decoder, list(decoder))


class _Watched:
    """Reads a pipe, and shows when everything that was written has been decoded: the decoder asks for more."""

    def __init__(self, pipe: BytePipe, changed: threading.Condition) -> None:
        self._pipe = pipe
        self._changed = changed
        self._taken = 0
        self._asking = False

    def read(self, size: int) -> bytes:
        with self._changed:
            self._asking = True
            self._changed.notify_all()
        data = self._pipe.read(size)
        with self._changed:
            self._asking = False
            self._taken += len(data)
        return data

    def wants_more(self, than: int) -> bool:
        """Whether so many bytes were not enough. With `_changed` held."""
        return self._asking and self._taken == than


@dataclass
class Live:
    """A decoder in a thread that gets a stream part by part.

    Attributes:
        held: how many pictures that had been sent whole were not out yet when the next one was sent.
    """

    held: list[int] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)

    async def feed(self, parts: Sequence[bytes], pictures_before: Callable[[int], int], **options: Any) -> None:
        """Send a part, wait until its pictures are out or nothing comes any more, send the next."""
        pipe = BytePipe()
        came = threading.Condition()
        source, written = _Watched(pipe, came), 0

        def read() -> None:
            for item in InputDecoder(source, 96, 96, **{"max_fps": None, "hardware": "software", **options}):
                if isinstance(item, RawFrame):
                    with came:
                        self.pts.append(item.pts)
                        came.notify_all()

        def wait_for(count: int) -> int:
            with came:
                assert came.wait_for(lambda: len(self.pts) >= count or source.wants_more(than=written), 60)
                return count - len(self.pts)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for number, part in enumerate(parts):
                for begin in range(0, len(part), 1000):
                    await pipe.write(part[begin : begin + 1000])
                written += len(part)
                self.held.append(await asyncio.to_thread(wait_for, pictures_before(number + 1)))
        finally:
            pipe.end()
            await asyncio.to_thread(thread.join, 60)

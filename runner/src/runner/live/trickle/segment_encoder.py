"""SegmentEncoder: pictures and sound as segments of one MPEG transport stream, for a trickle channel (contract 2.2)."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, cast

import av
import av.error
from av.video.frame import PictureType

from ...errors import SinkError
from .codecs import SOFTWARE_ENCODER, Hardware, choose_encoder, encoder_options
from .frame import AudioFrame, RawFrame
from .resampler import SoundResampler
from .sound_sync import SoundSync
from .transport_stream import CLOCK_HZ
from .transport_writer import TransportWriter
from .yuv import YuvConverter

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

    from .tracks import AudioFormat

SEGMENT_S = 2.0
SOUND_HZ = 48_000
_DEFAULT_FPS = 24.0
_TIME_BASE = Fraction(1, CLOCK_HZ)


class SegmentSink(Protocol):
    """Where one segment goes. Both methods are called in the encoder's thread and may block it."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes; what it returns is not looked at. Raises SinkError or OSError: no more can be taken."""

    def close(self) -> None:
        """The segment is over."""


class SegmentEncoder:
    """Encodes to H.264 and Opus (48 kHz, mono) in segments. Blocking, and for one thread at a time.

    Each segment begins with the program tables and a key frame and decodes by itself; all together
    are one continuous stream. A key frame is forced, and a segment begun, at the first picture two
    seconds after the one that began the last. Times are those given, exactly, in 1/90000 s, and all bytes of
    a picture reach the sink before `write` returns. Pictures of another size begin a new segment with
    an encoder of its own, as no player takes another size before a key frame.

    Attributes:
        encoder: FFmpeg's name of the video encoder, ``libx264`` or ``h264_nvenc``.
        pictures: encoded so far.
        segments: begun so far.

    Raises:
        SinkError: hardware is insisted on, and there is none that works.
    """

    def __init__(
        self,
        open_segment: Callable[[int], SegmentSink],
        audio: AudioFormat | None,
        fps: float | None,
        *,
        segment_s: float = SEGMENT_S,
        hardware: Hardware = "auto",
    ) -> None:
        """
        Args:
            open_segment: called with 0, 1, ... for each segment; may raise SinkError.
            audio: format of the source's sound; None leaves sound out.
            fps: about how many pictures per second there will be, for the encoder's calculations.
            segment_s: presentation time from one key frame to the next.
            hardware: whether to encode on a GPU.
        """
        self.encoder = choose_encoder(hardware)
        self.pictures = 0
        self.segments = 0
        self._open_segment = open_segment
        self._fps = Fraction(fps or _DEFAULT_FPS).limit_denominator(65_535)
        self._segment_ticks = round(segment_s * CLOCK_HZ)
        self._hardware: Hardware = hardware
        self._writer = TransportWriter(sound=audio is not None)
        self._sync = SoundSync()
        self._sound = _SoundTrack() if audio is not None else None
        self._video: VideoCodecContext | None = None
        self._yuv: YuvConverter | None = None
        self._sink: SegmentSink | None = None
        self._cuts: deque[int] = deque()  # times of pictures that were asked to be key frames
        self._last_cut: int | None = None
        self._last_pts: int | None = None
        self._closed = False

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> pieces of sound left out, see `SoundSync`."""
        return self._sync.dropped

    def write(self, frame: RawFrame | AudioFrame) -> bool:
        """Encode a picture or a piece of sound; its memory is not used any more afterwards.

        Returns:
            False when it was left out: a picture that is not later than the one before it, or sound
            in a stream without.

        Raises:
            SinkError: the segments cannot be written any further.
        """
        if self._closed:
            return False
        with _told_as_sink_error():
            if isinstance(frame, RawFrame):
                return self._write_picture(frame)
            if self._sound is None:
                return False
            for sound in self._sync.put(frame):
                self._write_sound(sound)
            return True

    def finish(self) -> None:
        """Write what is pending and end the last segment. Without a picture there is none. Safe to call twice.

        Raises:
            SinkError: it could not be written.
        """
        if self._closed:
            return
        try:
            with _told_as_sink_error():
                self._flush_video()
                if self._sound is not None and self._sink is not None:
                    self._write_packets(self._sound.flush())
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop without writing what is pending. Safe to call at any time, and twice.

        Raises:
            SinkError: the segment that was being written could not be ended.
        """
        self._closed = True
        self._video = None
        sink, self._sink = self._sink, None
        if sink is not None:
            with _told_as_sink_error():
                sink.close()

    def _write_picture(self, frame: RawFrame) -> bool:
        pts = round(frame.pts * frame.time_base * CLOCK_HZ)
        if self._last_pts is not None and pts <= self._last_pts:
            return False
        self._last_pts = pts
        video, yuv = self._encoder_for(frame)
        picture = yuv.convert(frame.pixels)
        picture.pts, picture.time_base = pts, _TIME_BASE
        if self._last_cut is None or pts - self._last_cut >= self._segment_ticks:
            picture.pict_type = PictureType.I
            self._last_cut = pts
            self._cuts.append(pts)
        self._put_pictures(video.encode(picture))
        self.pictures += 1
        if self._sound is not None and self._sink is not None:
            for sound in self._sync.picture(pts / CLOCK_HZ):
                self._write_sound(sound)
        return True

    def _encoder_for(self, frame: RawFrame) -> tuple[VideoCodecContext, YuvConverter]:
        height, width = frame.pixels.shape[:2]
        yuv = self._yuv
        if self._video is not None and yuv is not None and (yuv.width, yuv.height) == (width & ~1, height & ~1):
            return self._video, yuv
        yuv = YuvConverter(width, height)
        if not yuv.width or not yuv.height:
            raise SinkError(f"Pictures of {width}x{height} cannot be encoded; they must be at least 2x2 pixels large")
        self._flush_video()
        self._last_cut = None
        self._yuv, self._video = yuv, self._open_encoder(yuv)
        return self._video, yuv

    def _open_encoder(self, yuv: YuvConverter) -> VideoCodecContext:
        codec = cast("VideoCodecContext", av.CodecContext.create(self.encoder, "w"))
        yuv.set_up(codec)
        codec.options = encoder_options(self.encoder)
        codec.time_base, codec.framerate = _TIME_BASE, self._fps
        try:
            codec.open()
        except av.error.FFmpegError:
            # A GPU may have no room for one encoder more, or not for this size.
            if self._hardware != "auto" or self.encoder == SOFTWARE_ENCODER:
                raise
            self.encoder = SOFTWARE_ENCODER
            return self._open_encoder(yuv)
        return codec

    def _flush_video(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            self._put_pictures(video.encode(None))

    def _put_pictures(self, packets: list[av.Packet[av.stream.Stream]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            tables = b""
            if packet.is_keyframe and self._cuts and packet.pts >= self._cuts[0]:
                self._cuts.popleft()
                self._next_segment()
                tables = self._writer.tables()
            dts = packet.pts if packet.dts is None else packet.dts
            data = self._writer.picture(bytes(packet), packet.pts, dts, packet.is_keyframe)
            assert self._sink is not None
            self._sink.write(tables + data)

    def _next_segment(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()
        self._sink = self._open_segment(self.segments)
        self.segments += 1

    def _write_sound(self, sound: AudioFrame) -> None:
        assert self._sound is not None
        self._write_packets(self._sound.encode(sound))

    def _write_packets(self, packets: list[tuple[bytes, int]]) -> None:
        if packets and self._sink is not None:
            self._sink.write(b"".join(self._writer.sound(*packet) for packet in packets))


class _SoundTrack:
    """Sound as Opus packets: data, and time in 1/90000 s."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        codec.sample_rate, codec.layout, codec.format = SOUND_HZ, "mono", "s16"
        codec.time_base = Fraction(1, SOUND_HZ)
        self._codec = codec
        self._resampler = SoundResampler(codec)
        self._last_pts: int | None = None

    def encode(self, sound: AudioFrame) -> list[tuple[bytes, int]]:
        return self._timed(
            [
                packet
                for frame in self._resampler.resample(sound, sound.timestamp)
                for packet in self._codec.encode(frame)
            ]
        )

    def flush(self) -> list[tuple[bytes, int]]:
        return self._timed(self._codec.encode(None)) if self._codec.is_open else []

    def _timed(self, packets: list[av.Packet[av.stream.Stream]]) -> list[tuple[bytes, int]]:
        timed = []
        for packet in packets:
            assert packet.pts is not None
            # The encoder begins a few ms early; before 0 there is no time in the stream.
            pts = max(round(Fraction(packet.pts * CLOCK_HZ, SOUND_HZ)), 0)
            if self._last_pts is None or pts > self._last_pts:
                self._last_pts = pts
                timed.append((bytes(packet), pts))
        return timed


@contextlib.contextmanager
def _told_as_sink_error() -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise SinkError(f"The output stream cannot be written: {getattr(error, 'strerror', None) or error}") from error

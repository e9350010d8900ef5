"""Decoder: opens a container and gives its pictures, fitted to a size, and its sound, in file order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
from av.stream import Disposition

from ...errors import SourceError
from ..input_damage import InputDamage
from .fit import PictureFitter
from .frame import AudioFrame, RawFrame
from .frame_times import FrameTimes
from .promise import Promise
from .tracks import AudioFormat, DecodeCounts, TooManyErrors, Tracks

__all__ = ["AudioFormat", "Decoder", "Location"]

_HIGHEST_BELIEVABLE_FPS = 1000
_DEFAULT_FPS = 25
_CAMERA_WAIT_S, _CAMERA_PATIENCE_S = 0.005, 10.0
_LATEST_S = Fraction(2**63)  # later than any timestamp


@dataclass(frozen=True, slots=True)
class Location:
    """What to open, and how FFmpeg has to be asked.

    Attributes:
        url: for FFmpeg.
        name: for people, without credentials.
        container_format: e.g. ``v4l2`` for a camera; None lets FFmpeg look.
        options: of FFmpeg's protocol and container.
        open_timeout_s, read_timeout_s: None waits for ever.
        live: latency counts, so pictures are not held back for the sake of decoding speed.
    """

    url: str
    name: str
    container_format: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    open_timeout_s: float | None = None
    read_timeout_s: float | None = None
    live: bool = False


class Decoder:
    """The pictures and the sound of one container.

    Iterating gives `RawFrame` (uint8 RGB, exactly the size asked for) and `AudioFrame` in the
    order of the container, with the container's own pts and time base; blocking, so it belongs in
    a thread. At the end `rewind` begins again; timestamps then go on growing.

    Attributes:
        width, height: of the source's pictures, upright, in pixels.
        fps: nominal, None where the container does not say.
        duration_s: None where it has none (live sources).
        pictures: how many the container holds, as far as it says, else None.
        audio: format of the audio track, None without one.
        codec: of the video track, e.g. ``h264``.
        without_timestamp: frames dropped because neither they nor their neighbours have a timestamp.

    Raises:
        av.error.FFmpegError: the container cannot be opened. Words for it depend on what kind of
            source it is, so they are left to the caller.
        SourceError: no video track, or no picture in it that can be decoded.
    """

    def __init__(self, location: Location, width: int, height: int, stop: threading.Event | None = None) -> None:
        """`stop`: set by another thread to end the wait for a camera that gives no frames."""
        self._stop = stop or threading.Event()
        self._counts = DecodeCounts()
        self._location = location
        self._fitter = PictureFitter(width, height)
        self._offset_s = Fraction(0)
        self._upright: tuple[int, int] | None = None
        self._damage: InputDamage | None = None
        self._begin()

    @property
    def damage(self) -> InputDamage:
        """What could not be read: of the first whole pass, and before its end so far."""
        return self._damage or self._promise.so_far(self._counts.errors)

    @property
    def without_timestamp(self) -> int:
        return self._counts.without_timestamp

    def __iter__(self) -> Iterator[RawFrame | AudioFrame]:
        while self._primed:
            yield self._primed.popleft()
        yield from self._items

    def rewind(self) -> None:
        """Begin again at the first picture; what follows is later by the duration of what was given so far.

        Raises:
            SourceError: the container is no longer there, or has no picture any more.
        """
        self._offset_s += self._end_s - self._start_s
        self.close()
        try:
            self._begin()
        except av.error.FFmpegError as error:
            raise SourceError(f"{self._location.name} cannot be read again: {error.strerror}") from error

    def resize(self, width: int, height: int) -> None:
        """Give frames of another size from now on. From any thread."""
        self._fitter.resize(width, height)

    def close(self) -> None:
        """Let go of the container. Safe to call twice."""
        self._items.close()
        self._primed.clear()
        self._container.close()

    def _begin(self) -> None:
        self._container = self._open()
        try:
            self._choose_tracks()
            self._start_s, self._end_s = _LATEST_S, -_LATEST_S
            self._last_picture_s: Fraction | None = None
            self._items = self._decode()
            self._primed: deque[RawFrame | AudioFrame] = deque()
            self._prime()
        except BaseException:
            self._container.close()
            raise
        self.width, self.height = self._upright or (0, 0)

    def _open(self) -> av.container.InputContainer:
        location = self._location
        return av.open(
            location.url,
            "r",
            format=location.container_format,
            # `options` would reach the decoder too: a camera gives another size than asked for, and its frames decide.
            container_options=dict(location.options),
            timeout=(location.open_timeout_s, location.read_timeout_s),
        )

    def _choose_tracks(self) -> None:
        # Covers of music files are video tracks too, of one picture.
        videos = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        # Plain text "plays" as the output of a terminal, which nobody means.
        if not videos or self._container.format.name == "tty":
            raise SourceError(f"{self._location.name} has no video track{self._what_it_has()}")
        playable = [stream for stream in videos if stream.codec_context is not None]
        if not playable:
            raise SourceError(f"{self._location.name}: nothing here can decode its kind of video")
        video = max(playable, key=_rank)
        sounds = [
            sound
            for sound in self._container.streams.audio[:1]
            if sound.codec_context is not None and sound.codec_context.sample_rate
        ]
        self._tracks = Tracks(
            video, sounds[0] if sounds else None, self._fitter, self._counts, low_delay=self._location.live
        )
        self.audio = self._tracks.audio
        self.codec = video.codec_context.name
        self.fps = _believable_fps(video)
        self._promise = Promise(
            self._container, video, all_tracks=len(self._tracks.streams) == len(self._container.streams)
        )
        self._times = FrameTimes(video, self.fps or _DEFAULT_FPS)
        self.duration_s = None if self._container.duration is None else self._container.duration / av.time_base
        self.pictures = video.frames or None

    def _what_it_has(self) -> str:
        kinds = sorted({stream.type for stream in self._container.streams if stream.type != "video"})
        return f" (only {' and '.join(kinds)})" if kinds and self._container.format.name != "tty" else ""

    def _prime(self) -> None:
        """Decode up to the first picture: then the container is known to be good, and how it is turned."""
        for item in self._items:
            self._primed.append(item)
            if isinstance(item, RawFrame):
                return
        if self._counts.without_timestamp:
            raise SourceError(
                f"{self._location.name} does not say when to show its pictures (a bare stream?); "
                f"put it into a container first: ffmpeg -framerate 30 -i INPUT -c copy OUTPUT.mp4"
            )
        reason = f": {self._tracks.last_error}" if self._tracks.last_error else ""
        raise SourceError(f"{self._location.name} has a video track, but no frame in it could be decoded{reason}")

    def _decode(self) -> Generator[RawFrame | AudioFrame, None, None]:
        try:
            for packet in self._times.look_ahead(self._packets()):
                self._promise.see_packet(packet)
                for frame in self._tracks.decode(packet):
                    item = self._picture(frame) if isinstance(frame, av.VideoFrame) else self._sound(frame)
                    if item is not None:
                        yield item
            if self._damage is None:
                self._damage = self._promise.at_end(self._counts.errors, self._end_s - self._start_s)
        except TooManyErrors as error:
            raise SourceError(
                f"{self._location.name}: {error.count} frames in a row could not be decoded ({error.reason})"
            ) from None

    def _packets(self) -> Iterator[av.Packet[av.stream.Stream]]:
        """Packets up to the end, whatever garbage lies between them; an empty one per track flushes its decoder."""
        waits = 0
        while True:
            try:
                for packet in self._demux():
                    waits = 0
                    yield packet
                return
            except av.error.BlockingIOError:
                # Cameras answer so while they have no frame yet.
                waits += 1
                if waits * _CAMERA_WAIT_S > _CAMERA_PATIENCE_S:
                    raise SourceError(
                        f"{self._location.name} has given no picture for {_CAMERA_PATIENCE_S:g} s"
                    ) from None
                if self._stop.wait(_CAMERA_WAIT_S):
                    return
            except (av.error.ExitError, av.error.TimeoutError):
                waited_s = self._location.read_timeout_s or 0
                raise SourceError(f"{self._location.name} has sent nothing for {waited_s:g} s") from None
            except av.error.InvalidDataError as error:
                self._tracks.count_error(-1, error)
            except av.error.FFmpegError as error:
                raise SourceError(f"{self._location.name} broke off: {error.strerror}") from None

    def _demux(self) -> Iterator[av.Packet[av.stream.Stream]]:
        packets = self._container.demux(self._tracks.streams)
        return map(_copied, packets) if self._location.container_format == "v4l2" else packets

    def _picture(self, frame: av.VideoFrame) -> RawFrame | None:
        self._promise.see_frame(frame)
        if not self._times.complete(frame):
            self._counts.without_timestamp += 1
            return None
        assert frame.pts is not None
        assert frame.time_base is not None
        pixels = self._tracks.fit(frame)
        if pixels is None:
            return None
        if self._upright is None:
            sideways = self._fitter.orientation.sideways
            self._upright = (frame.height, frame.width) if sideways else (frame.width, frame.height)

        begin_s = frame.pts * frame.time_base
        last_s, self._last_picture_s = self._last_picture_s, begin_s
        # How long the last picture shows is not said; as long as the one before it is the best guess.
        length_s = begin_s - last_s if last_s is not None else 1 / Fraction(self.fps or _DEFAULT_FPS)
        self._note_extent(begin_s, begin_s + length_s)
        return RawFrame(pixels, frame.pts + self._shift(frame.time_base), frame.time_base)

    def _sound(self, frame: av.AudioFrame) -> AudioFrame | None:
        sound = self._tracks.sound(frame)
        if sound is None:
            return None
        begin_s = sound.timestamp * sound.time_base
        self._note_extent(begin_s, begin_s + Fraction(sound.nb_samples, sound.rate))
        sound.timestamp += self._shift(sound.time_base)
        return sound

    def _note_extent(self, begin_s: Fraction, end_s: Fraction) -> None:
        """Remember from when to when this round lasts, over all tracks, before any shift."""
        self._start_s = min(self._start_s, begin_s)
        self._end_s = max(self._end_s, end_s)

    def _shift(self, time_base: Fraction) -> int:
        """How many units later a timestamp is because of earlier rounds."""
        return round(self._offset_s / time_base) if self._offset_s else 0


def _rank(video: av.VideoStream) -> tuple[bool, bool, int]:
    """Order video tracks as FFmpeg and players choose them: flagged as default, not a still, with the most pixels."""
    codec = video.codec_context
    return bool(video.disposition & Disposition.default), video.frames != 1, codec.width * codec.height


def _believable_fps(video: av.VideoStream) -> float | None:
    for rate in (video.average_rate, video.guessed_rate):
        if rate is not None and 0 < rate <= _HIGHEST_BELIEVABLE_FPS:
            return float(rate)
    return None


def _copied(packet: av.Packet[av.stream.Stream]) -> av.Packet[av.stream.Stream]:
    """The packet in memory of its own.

    FFmpeg returns the buffer of a V4L2 packet to its device when the packet is freed. A packet that outlives the
    container, in a frame or a traceback, crashes the process.
    """
    if not packet.size and not packet.buffer_ptr:
        return packet  # flushes the decoder
    copy = av.Packet(bytes(packet) or b"\0")  # not empty, which would flush: a frame with the error flag has no data
    copy.stream, copy.time_base = packet.stream, packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    return copy

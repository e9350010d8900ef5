"""InputDecoder: a live MPEG transport stream to pictures and sound, at once, whatever happens in it (contract 2.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction

import av
import av.error
from av.codec.context import Flags

from ...errors import SourceError
from .codecs import Hardware, choose_device
from .fit import PictureFitter
from .frame import AudioFrame, RawFrame
from .frame_rate import FrameRateCap
from .timeline import Timeline
from .tracks import AudioFormat, DecodeCounts, TooManyErrors, Tracks, reason_of
from .transport_reader import LONGEST_DELIMITER_BYTES, Readable, TransportReader
from .transport_stream import CLOCK_HZ

MAX_FPS = 24.0
MAX_RESTARTS = 3
RESTARTS_FORGOTTEN_S = 120.0
_TIME_BASE = Fraction(1, CLOCK_HZ)
_OPTIONS = {
    "analyzeduration": "2500000",  # microseconds, for a track that is announced and sends nothing
    "fpsprobesize": "0",  # nobody asks for the nominal rate; by default 20 pictures are held back for it
    # Times are put right by the timeline, which knows all tracks. FFmpeg would guess, from tokens too.
    "fflags": "nofillin",
    "correct_ts_overflow": "0",
    "max_ts_probe": "0",
}
# A stream that is joined within a group of pictures has nothing to show before its next key frame. An
# encoder that refreshes bit by bit never sends one; then what can be decoded has to do.
_WAIT_FOR_KEY_PACKETS = 300


class InputDecoder:
    """The pictures and the sound of one continuous MPEG transport stream, e.g. of trickle segments joined together.

    Iterating gives `RawFrame` (uint8 RGB, exactly the size asked for) and `AudioFrame` in the order of
    the stream; blocking, so it belongs in a thread, and it ends with the stream. A picture comes out
    as soon as its last byte was read. Times are those of the stream in 1/90000 s, as long as they
    grow; `Timeline` says what becomes of others.

    Other tracks or codecs (a changed program map) and damage beyond the budget make it open the stream
    again at that place; another size does not need that.

    Attributes:
        audio: format of the sound, None without any; known by the first item.
        codec: of the video track, e.g. ``h264``; None without one.
        decoder: what decodes it, e.g. ``h264`` or ``h264 (cuda)``.
        width, height: of the source's pictures, in pixels; 0 before the first one.
        dropped: reason -> pictures left out: ``rate``, ``no_timestamp``, ``timestamp`` (not later than
            the one before).
        restarts: how often it has been opened again after damage.
    """

    def __init__(
        self,
        source: Readable,
        width: int,
        height: int,
        *,
        max_fps: float | None = MAX_FPS,
        hardware: Hardware = "auto",
        on_open: Callable[[InputDecoder], None] | None = None,
    ) -> None:
        """
        Args:
            source: the bytes, e.g. a `BytePipe`.
            width, height: of the pictures to give out.
            max_fps: pictures beyond it are left out, evenly; None for no limit.
            hardware: whether to decode on a GPU.
            on_open: called in the iterating thread each time that what the stream holds is known, or known anew.
        """
        self.audio: AudioFormat | None = None
        self.codec: str | None = None
        self.decoder: str | None = None
        self.width = self.height = 0
        self.dropped: dict[str, int] = {}
        self.restarts = 0
        self._counts = DecodeCounts()
        self._reader = TransportReader(source)
        self._fitter = PictureFitter(width, height)
        self._cap = FrameRateCap(max_fps)
        self._timeline = Timeline()
        self._picture_ticks = round(CLOCK_HZ / (max_fps or MAX_FPS))
        self._hardware: Hardware = hardware
        self._on_open = on_open
        self._sound_end: Fraction | None = None  # of the latest piece, on the stream's clock
        self._budget_used = 0
        self._last_restart_s = 0.0

    def resize(self, width: int, height: int) -> None:
        """Pictures of another size from now on. From any thread."""
        self._fitter.resize(width, height)

    @property
    def decode_errors(self) -> int:
        """Packets that could not be decoded."""
        return self._counts.errors

    @property
    def skipped_bytes(self) -> int:
        """Bytes between packets that belonged to none."""
        return self._reader.skipped_bytes

    def __iter__(self) -> Iterator[RawFrame | AudioFrame]:
        """
        Raises:
            SourceError: damaged more often than is put up with, neither video nor sound in it, or
                no hardware where that is insisted on.
        """
        device = choose_device(self._hardware)
        opened = False
        while self._reader.resume():
            try:
                container = av.open(self._reader, "r", format="mpegts", options=_OPTIONS, hwaccel=device)
            except Exception as error:  # whatever the demuxer makes of damage; see `_packets`
                if not self._reader.stopped:
                    self._note_restart(reason_of(error))
                continue
            try:
                tracks = self._tracks_of(container)
                opened = True
                yield from self._decode(container, tracks)
            except TooManyErrors as error:
                self._note_restart(str(error))
            finally:
                container.close()
        if self._reader.bytes_read and not opened:
            raise SourceError("The input stream has neither video nor sound that could be read; it must be MPEG-TS")

    def _tracks_of(self, container: av.container.InputContainer) -> Tracks:
        videos = [stream for stream in container.streams.video if stream.codec_context is not None]
        sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
        video = videos[0] if videos else None
        tracks = Tracks(
            video,
            sounds[0] if sounds else None,
            self._fitter,
            self._counts,
            low_delay=True,
            forgiving="one",
        )
        self.audio, self.codec, self.decoder = tracks.audio, tracks.codec, None
        self._sound_end = None
        if video is not None:
            context = video.codec_context
            context.flags |= Flags.low_delay
            self.decoder = f"{context.name} (cuda)" if context.is_hwaccel else context.name
            if self._hardware == "hardware" and not context.is_hwaccel:
                raise SourceError(f"The input's video ({context.name}) cannot be decoded in hardware here")
            self.width, self.height = context.width, context.height
        self._tell()
        return tracks

    def _tell(self) -> None:
        if self._on_open is not None:
            self._on_open(self)

    def _decode(
        self, container: av.container.InputContainer, tracks: Tracks
    ) -> Generator[RawFrame | AudioFrame, None, None]:
        wait_for_key = _WAIT_FOR_KEY_PACKETS
        for packet in self._packets(container, tracks):
            if packet.stream.type == "video" and packet.size:
                if not self._put_time_right(packet):
                    continue
                if wait_for_key and not packet.is_keyframe:
                    wait_for_key -= 1
                    continue
                wait_for_key = 0
            for frame in tracks.decode(packet):
                item = self._picture(frame, tracks) if isinstance(frame, av.VideoFrame) else self._sound(frame, tracks)
                if item is not None:
                    yield item

    def _packets(self, container: av.container.InputContainer, tracks: Tracks) -> Iterator[av.Packet[av.stream.Stream]]:
        while True:
            try:
                yield from container.demux(tracks.streams)
                return
            except Exception as error:  # not of FFmpeg alone: PyAV raises IndexError for a track that appears late
                tracks.count_error(-1, error)

    def _put_time_right(self, packet: av.Packet[av.stream.Stream]) -> bool:
        """Give a packet its own time where it has a token. False for a packet that is not to be decoded."""
        pts = self._reader.times.pts(packet.pts, packet.dts)
        if pts is None:
            if packet.size > LONGEST_DELIMITER_BYTES:  # else only a mark, behind which the stream ends
                self._drop("no_timestamp")
            return False
        packet.pts = packet.dts = pts
        return True

    def _picture(self, frame: av.VideoFrame, tracks: Tracks) -> RawFrame | None:
        pts = None if frame.pts is None else self._timeline.place("video", frame.pts, self._picture_ticks)
        if pts is None:
            self._drop("timestamp")
            return None
        if not self._cap.takes(pts):
            self._drop("rate")
            return None
        if (frame.width, frame.height) != (self.width, self.height):
            self.width, self.height = frame.width, frame.height
            self._tell()
        pixels = tracks.fit(frame)
        return None if pixels is None else RawFrame(pixels, pts, _TIME_BASE)

    def _sound(self, frame: av.AudioFrame, tracks: Tracks) -> AudioFrame | None:
        if frame.pts is None and self._sound_end is not None:
            # Only the first piece of a PES packet has a time; one packet may hold a third of a second of AAC.
            frame.pts, frame.time_base = round(self._sound_end), _TIME_BASE
        sound = tracks.sound(frame)
        if sound is None:
            return None
        self._sound_end = sound.timestamp + Fraction(sound.nb_samples * CLOCK_HZ, sound.rate)
        pts = self._timeline.place("audio", sound.timestamp, sound.nb_samples * CLOCK_HZ // sound.rate)
        if pts is None:
            return None
        sound.timestamp = pts
        if self.audio is None:  # a track that had sent nothing when the stream was opened
            self.audio = AudioFormat(sound.rate, sound.layout)
            self._tell()
        return sound

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _note_restart(self, reason: str) -> None:
        if self._reader.ended:
            return
        now = time.monotonic()
        if now - self._last_restart_s > RESTARTS_FORGOTTEN_S:
            self._budget_used = 0
        self._last_restart_s = now
        if self._budget_used == MAX_RESTARTS:
            raise SourceError(
                f"The input stream is damaged: it was opened again {MAX_RESTARTS} times within "
                f"{RESTARTS_FORGOTTEN_S:g} s, and then: {reason}"
            )
        self._budget_used += 1
        self.restarts += 1

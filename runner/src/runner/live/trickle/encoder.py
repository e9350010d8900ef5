"""Encoder: pictures and sound into one media file, with the timestamps that they have."""

from __future__ import annotations

import contextlib
import errno
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error

from ...errors import SinkError
from .container import CODECS, Codecs
from .frame import AudioFrame, RawFrame
from .resampler import SoundResampler
from .yuv import YuvConverter

if TYPE_CHECKING:
    from .tracks import AudioFormat


_VIDEO_OPTIONS = {
    # The pipeline needs the CPU more: "veryfast" takes half as much time again for a quarter fewer bytes.
    # Without B-frames no container has to move the timestamps to make room for earlier decoding times.
    "libx264": {"preset": "superfast", "crf": "20", "bf": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "7", "crf": "32", "b": "0", "row-mt": "1"},
}
_FALLBACK_TIME_BASE = Fraction(1, 90_000)
_FINEST_TIME_BASE = Fraction(1, 1_000_000)  # finer ones overflow the 32-bit clocks of mp4 and x264
_DEFAULT_FPS = 30
# A stream that begins later than this does not have a lead-in, it has a clock that was running
# before; players would show hours of nothing.
_LONGEST_LEAD_IN_S = 10
_LAYOUTS = ("mono", "stereo", "5.1")


class Encoder:
    """Writes one media file; its suffix says which kind. Blocking, and for one thread at a time.

    Until `finish` there is only a hidden file beside it, so a half-written file never has the
    final name; `abort` removes the hidden one. Pictures keep their pts as closely as the container
    can say them (exactly in mp4 and mov; flv and ts have no negative times and may move all tracks by
    the 23 ms that AAC begins early); none is doubled or dropped to keep a rate. A stream whose
    first timestamp lies beyond a lead-in (a camera's clock, say) is moved to begin at 0.

    Attributes:
        path: of the finished file.
        pictures: written so far.

    Raises:
        SinkError: the kind of file is not known, or it cannot be written there.
    """

    def __init__(self, path: str | Path, audio: AudioFormat | None = None, fps: float | None = None) -> None:
        self.path = Path(path)
        self.pictures = 0
        self._audio_format = audio
        self._fps = Fraction(fps or _DEFAULT_FPS).limit_denominator(65_535)
        self._codecs = _codecs_for(self.path)
        self._part = _reserve(self.path)
        # The suffix stays at the end of the hidden name: it tells FFmpeg the container.
        self._container = av.open(str(self._part), "w")
        self._video: av.VideoStream | None = None
        self._audio: av.AudioStream | None = None
        self._resampler: SoundResampler | None = None
        self._yuv: YuvConverter | None = None
        self._early_sound: list[AudioFrame] = []
        self._last_pts: int | None = None
        self._origin_s = Fraction(0)
        self._closed = False

    def write(self, frame: RawFrame | AudioFrame) -> bool:
        """Encode a picture or a piece of sound; its memory is not used any more afterwards.

        Returns:
            False when it was left out: a picture that is not later than the one before it, or sound
            in a file without a sound track.

        Raises:
            SinkError: the file cannot be written any further.
        """
        try:
            if isinstance(frame, RawFrame):
                return self._write_picture(frame)
            return self._write_sound(frame)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        """Write what is pending and give the file its name.

        Raises:
            SinkError: it could not be written, or there was no picture to write; nothing is left behind.
        """
        if self._closed:
            return
        if self._video is None:
            self.abort()
            raise SinkError(f"{self.path} was not written: there was no picture to put into it")
        try:
            for stream in (self._video, self._audio):
                if stream is not None:
                    self._container.mux(stream.encode(None))
            self._container.close()
            os.replace(self._part, self.path)
        except (av.error.FFmpegError, OSError) as error:
            failure = self._failure(error)
            self.abort()
            raise failure from error
        self._closed = True

    def abort(self) -> None:
        """Stop writing and remove what was written. Safe to call at any time, and twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()
        self._part.unlink(missing_ok=True)

    def _write_picture(self, frame: RawFrame) -> bool:
        if self._video is None:
            self._begin(frame)
        assert self._video is not None
        assert self._yuv is not None
        clock = self._video.codec_context.time_base
        pts = round((frame.pts * frame.time_base - self._origin_s) / clock)
        if self._last_pts is not None and pts <= self._last_pts:
            return False
        self._last_pts = pts
        picture = self._yuv.convert(frame.pixels)
        picture.pts, picture.time_base = pts, clock
        self._container.mux(self._video.encode(picture))
        self.pictures += 1
        return True

    def _begin(self, first: RawFrame) -> None:
        """Make the tracks; only now are size and clock of the pictures known."""
        height, width = first.pixels.shape[:2]
        self._yuv = YuvConverter(width, height)
        if not self._yuv.width or not self._yuv.height:
            raise SinkError(f"{self.path}: pictures must be at least 2x2 pixels large")
        clock = first.time_base
        usable = clock >= _FINEST_TIME_BASE and clock.denominator <= _FINEST_TIME_BASE.denominator
        if first.time_s > _LONGEST_LEAD_IN_S:
            self._origin_s = first.pts * first.time_base

        video = self._container.add_stream(self._codecs.video, rate=self._fps)
        assert isinstance(video, av.VideoStream)
        codec = video.codec_context
        codec.options = _VIDEO_OPTIONS[self._codecs.video]
        self._yuv.set_up(codec)
        codec.time_base = clock if usable else _FALLBACK_TIME_BASE
        # How late a track begins is written in units of the movie, by default milliseconds; other
        # containers do not know this option.
        self._container.container_options["movie_timescale"] = str(_mp4_timescale(codec.time_base))
        self._video = video
        if self._audio_format is not None:
            self._audio = self._add_sound(self._audio_format)
            for sound in self._early_sound:
                self._write_sound(sound)
        self._early_sound.clear()

    def _add_sound(self, wanted: AudioFormat) -> av.AudioStream:
        rates = av.codec.Codec(self._codecs.audio, "w").audio_rates or [wanted.rate]
        rate = wanted.rate if wanted.rate in rates else 48_000
        layout = wanted.layout if wanted.layout in _LAYOUTS else "stereo"
        stream = self._container.add_stream(self._codecs.audio, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        return stream

    def _write_sound(self, sound: AudioFrame) -> bool:
        if self._audio_format is None:
            return False
        if self._audio is None:
            self._early_sound.append(sound)
            return True
        pts = sound.timestamp - round(self._origin_s / sound.time_base)
        if self._origin_s and pts < 0:
            return False
        if self._resampler is None:
            self._resampler = SoundResampler(self._audio.codec_context)
        for frame in self._resampler.resample(sound, pts):
            self._container.mux(self._audio.encode(frame))
        return True

    def _failure(self, error: Exception) -> SinkError:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            return SinkError(f"{self.path}: the disk is full; free some room or write to another place")
        if number == errno.EFBIG:
            return SinkError(f"{self.path}: the file has become larger than is allowed here")
        return SinkError(f"{self.path} cannot be written: {getattr(error, 'strerror', None) or error}")


def _codecs_for(path: Path) -> Codecs:
    codecs = CODECS.get(path.suffix.lower())
    if codecs is None:
        kind = f"Files ending in {path.suffix!r}" if path.suffix else "Files without a suffix"
        raise SinkError(f"{path}: {kind} cannot be written; choose one of {', '.join(CODECS)}")
    return codecs


def _reserve(path: Path) -> Path:
    """Create the hidden file beside `path` that becomes it in the end, so that trouble shows at once."""
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix.lower()}")
    if os.path.isdir(path):  # unlike Path.is_dir, False where looking is not allowed
        raise SinkError(f"{path} is a folder; name a file in it")
    try:
        part.open("wb").close()
    except FileNotFoundError as error:
        way_out = f"no files in {path.parent}" if path.parent.is_dir() else f"create the folder {path.parent} first"
        raise SinkError(f"{path} cannot be written: {way_out}") from error
    except NotADirectoryError as error:
        raise SinkError(f"{path} cannot be written: {path.parent} is not a folder") from error
    except PermissionError as error:
        raise SinkError(f"{path} cannot be written: no permission to write in {path.parent}") from error
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}") from error
    return part


def _mp4_timescale(time_base: Fraction) -> int:
    """The units per second that FFmpeg will give a track of this time base."""
    units = time_base.denominator
    while units < 10_000:
        units *= 2
    return units

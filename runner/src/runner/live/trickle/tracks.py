"""Tracks: the video and the audio track of an open container, from packets to frames, with a budget for damage."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import av
import av.error

from .fit import PictureFitter, UnconvertibleFrame
from .frame import AudioFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ERRORS = 10  # on one track, after taking off what was decoded well; one more is too many
# Above this many pixels one core may not keep up with decoding. Below it threads only cost CPU time
# (720p: 2.4 instead of 1.8 ms per picture), and frame threads hold back one picture each.
_THREADS_ABOVE_PIXELS = 1280 * 720


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How an audio track is made: samples per second, and the layout of its channels, e.g. ``stereo``."""

    rate: int
    layout: str


@dataclass(slots=True)
class DecodeCounts:
    """What was left out, over all openings of a source.

    Attributes:
        errors: packets that could not be decoded.
        without_timestamp: frames dropped because neither they nor their neighbours have a timestamp.
    """

    errors: int = 0
    without_timestamp: int = 0


class TooManyErrors(Exception):
    """A track is damaged beyond the budget.

    Attributes:
        count: how many errors it was in the end.
        reason: why the last one could not be used.
    """

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(f"{count} packets could not be decoded ({reason})")
        self.count = count
        self.reason = reason


class Tracks:
    """Decodes the packets of one video and one audio track; either may be missing.

    Attributes:
        streams: the tracks that there are, to be demuxed.
        audio: format of the audio track, None without one, or as long as it has said nothing.
        codec: of the video track, e.g. ``h264``; None without one.
        last_error: why the last packet or frame could not be used, None as long as all could.
    """

    def __init__(
        self,
        video: av.VideoStream | None,
        sound: av.AudioStream | None,
        fitter: PictureFitter,
        counts: DecodeCounts,
        *,
        low_delay: bool,
        forgiving: Literal["all", "one"] = "all",
    ) -> None:
        """
        Args:
            fitter: gives pictures their size.
            counts: where errors are counted.
            low_delay: pictures are not held back for the sake of decoding speed.
            forgiving: how many earlier errors something decoded well makes up for.
        """
        self.streams: list[av.stream.Stream] = [stream for stream in (video, sound) if stream is not None]
        self.audio: AudioFormat | None = None
        self.last_error: str | None = None
        self.codec = video.codec_context.name if video is not None else None
        self._video = video
        self._fitter = fitter
        fitter.reopen()
        self._counts = counts
        self._forgiving = forgiving
        self._errors: defaultdict[int, int] = defaultdict(int)
        if video is not None:
            _set_threads(video, low_delay)
        if sound is not None and sound.codec_context.sample_rate:
            self.audio = AudioFormat(sound.codec_context.sample_rate, sound.codec_context.layout.name)

    def decode(self, packet: av.Packet[av.stream.Stream]) -> list[av.VideoFrame | av.AudioFrame]:
        """The frames that come out when a packet goes in; an empty packet gets the last ones out.

        Raises:
            TooManyErrors: the budget of its track is used up.
        """
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            self.count_error(packet.stream_index, error)
            return []
        if frames:
            self.count_success(packet.stream_index)
        return frames  # type: ignore[return-value]  # only video and audio tracks are asked for

    def fit(self, frame: av.VideoFrame) -> NDArray[np.uint8] | None:
        """A picture's pixels in the size asked for, or None (and one error more) where that cannot be.

        Raises:
            TooManyErrors: as above.
        """
        assert self._video is not None
        try:
            return self._fitter.fit(frame, self._video.sample_aspect_ratio)
        except UnconvertibleFrame as error:
            self.count_error(self._video.index, error)
            return None

    def sound(self, frame: av.AudioFrame) -> AudioFrame | None:
        """The samples, or None where nothing says when to play them."""
        if frame.pts is None or frame.time_base is None:
            return None
        return AudioFrame(frame)

    def count_success(self, track: int) -> None:
        """Something was decoded: that makes up for errors of the track, and of the container (track -1)."""
        for index in (track, -1):
            self._errors[index] = max(0, self._errors[index] - 1) if self._forgiving == "one" else 0

    def count_error(self, track: int, error: Exception) -> None:
        """Count an error of a track, or of the container (track -1)."""
        self.last_error = reason_of(error)
        self._counts.errors += 1
        self._errors[track] += 1
        if self._errors[track] > MAX_ERRORS:
            raise TooManyErrors(self._errors[track], self.last_error) from None


def reason_of(error: Exception) -> str:
    """Return FFmpeg's word for an error, or what else it says."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _set_threads(video: av.VideoStream, low_delay: bool) -> None:
    codec = video.codec_context
    if codec.width * codec.height > _THREADS_ABOVE_PIXELS:
        codec.thread_type = "SLICE" if low_delay else "AUTO"
    else:
        codec.thread_count = 1

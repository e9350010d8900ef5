"""Promise: how many frames a container says it holds, against those that came out."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import av.container

from ..input_damage import InputDamage

_TAG_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # of Matroska
_TS_PACKETS = (188, 192, 204)
# Without an exact number of frames: what may be missing without a word. Durations and frame rates are rounded.
_END_TOLERANCE_S = Fraction(1, 5)
_COUNT_TOLERANCE = Fraction(1, 10)


class Promise:
    """Counts one pass over one container.

    MP4 and MOV have an index, so each missing frame is noticed. Other containers have a duration: frames are missing
    if the last one comes early, and in HLS, whose frame rate is constant, if there are clearly fewer than it says.
    MPEG-TS has neither; a file that ends within one of its packets was cut.
    """

    def __init__(self, container: av.container.InputContainer, video: av.VideoStream, *, all_tracks: bool) -> None:
        """`all_tracks`: every track of the container is decoded, so its duration is theirs."""
        formats = container.format.name.split(",")
        self._indexed = video if "mov" in formats else None
        rate = video.average_rate
        self._fps = Fraction(rate) if rate else None
        whole_s = None if container.duration is None else Fraction(container.duration, av.time_base)
        self._constant_rate = "hls" in formats
        self._duration_s = _duration_of(video) or (whole_s if all_tracks or self._constant_rate else None)
        self._cut = "mpegts" in formats and container.size > 0 and all(container.size % size for size in _TS_PACKETS)
        self._frames = self._corrupt = 0

    def see_packet(self, packet: av.Packet[av.stream.Stream]) -> None:
        """Count a packet of any track."""
        self._corrupt += packet.is_corrupt

    def see_frame(self, frame: av.VideoFrame) -> None:
        """Count a decoded frame."""
        self._frames += 1
        self._corrupt += frame.is_corrupt

    def so_far(self, decode_errors: int) -> InputDamage:
        """Return what was seen before the end."""
        return InputDamage(decode_errors=decode_errors, corrupt=self._corrupt)

    def at_end(self, decode_errors: int, length_s: Fraction) -> InputDamage:
        """Return what a whole pass has shown.

        Args:
            length_s: from the first to the end of the last frame or sound.
        """
        expected = self._in_index()
        missing = max(0, expected - self._frames) if expected else 0
        if expected is None and self._duration_s is not None and self._fps is not None:
            expected = round(self._duration_s * self._fps)
            missing = max(self._missing_at_end(length_s), self._missing_by_rate(expected))
        return InputDamage(
            decode_errors=decode_errors, corrupt=self._corrupt + self._cut, missing=missing, expected=expected
        )

    def _in_index(self) -> int | None:
        # Not `video.frames`: that counts what an edit list leaves out, too. Versions of av before 16 have no index.
        index = getattr(self._indexed, "index_entries", ())
        return sum(not entry.is_discard for entry in index) or None

    def _missing_at_end(self, length_s: Fraction) -> int:
        assert self._duration_s is not None
        assert self._fps is not None
        short_s = self._duration_s - length_s
        return round(short_s * self._fps) if short_s > _END_TOLERANCE_S + 1 / self._fps else 0

    def _missing_by_rate(self, expected: int) -> int:
        missing = expected - self._frames
        return missing if self._constant_rate and missing > expected * _COUNT_TOLERANCE else 0


def _duration_of(video: av.VideoStream) -> Fraction | None:
    if video.duration is not None and video.time_base is not None:
        return video.duration * video.time_base
    tag = _TAG_DURATION.match(video.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = map(Fraction, tag.groups())
    return (hours * 60 + minutes) * 60 + seconds or None

"""Source: where the frames of a local stream come from, and how its name is read."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import SourceError
from ...input_damage import InputDamage
from ...trickle.frame import AudioFrame, RawFrame
from .protocol import SourceInfo, StreamRequest

if TYPE_CHECKING:
    from ...trickle.decoder import AudioFormat
    from ...trickle.pattern import TestPattern

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATTERN = re.compile(r"(?:(\d+)x(\d+))?(?:@(\d+(?:\.\d+)?))?")
_SERVED_TO_MANY = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps")
_PATTERN_SIDES = range(16, 8193)
_PATTERN_MAX_FPS = 240


class Source(ABC):
    """An open source. Everything here blocks and is called by one thread only.

    Attributes:
        info: what is known of it.
        audio: format of its audio, None without.
        label: its name in messages.
        patience_s: seconds without a frame after which a source that is paced from outside counts as broken off,
            `math.inf` if it may be silent for any time; None for a source that gives frames whenever it is asked.
    """

    info: SourceInfo
    audio: AudioFormat | None = None
    label: str = ""
    patience_s: float | None = None

    @property
    def damage(self) -> InputDamage:
        """What could not be read: of the first whole pass, and before its end so far."""
        return InputDamage()

    @property
    def without_timestamp(self) -> int:
        """Pictures left out so far, because nothing says when to show them."""
        return 0

    @abstractmethod
    def frames(self) -> Iterator[RawFrame | AudioFrame]:
        """Frames in their order, pictures already fitted to the size asked for.

        Raises:
            SourceError: it broke off.
        """

    def resize(self, width: int, height: int) -> bool:  # noqa: ARG002  # what others may do
        """Give frames of another size from now on; from any thread. False where only a new opening can."""
        return False

    def close(self) -> None:
        """Let go of what is open."""


def open_source(request: StreamRequest, width: int, height: int, stop: threading.Event) -> Source:
    """Open what `request.source` names; its pictures will be `width` x `height`.

    Args:
        stop: set by another thread when the source should come to its end soon.

    Raises:
        SourceError: with a message in user terms.
    """
    kind, _, rest = request.source.partition(":")
    if kind == "pattern" and "/" not in rest:
        return PatternSource(rest, width, height)
    if kind == "device":
        from .camera import open_camera

        return open_camera(rest, width, height, stop)
    if kind == "shm":
        from .ring_source import RingSource

        return RingSource(rest, width, height, stop)
    from .media_source import open_file, open_url

    if _URL.match(request.source):
        return open_url(request.source, width, height, loop=request.loop)
    if Path(request.source).is_fifo():
        from .pipe_source import PipeSource

        return PipeSource(request.source, width, height, stop)
    return open_file(request.source, width, height, loop=request.loop)


def can_open_twice(source: str) -> bool:
    """Whether a source is the same after it was opened and closed.

    A pipe is not, nor is a sender that serves a single receiver, as usual with srt and tcp; by udp nothing refuses.
    """
    scheme = _URL.match(source)
    if scheme:
        return scheme.group().lower().removesuffix("://") in _SERVED_TO_MANY
    return not Path(source).is_fifo()


class PatternSource(Source):
    """Test pictures without end, at the size and rate that its text asks for.

    Raises:
        SourceError: the text is not of the form ``WxH@FPS``, either part optional.
    """

    def __init__(self, text: str, width: int, height: int) -> None:
        from ...trickle.pattern import TestPattern

        own_width, own_height, fps = _read_pattern(text, width, height)
        self._pattern: TestPattern = TestPattern(own_width, own_height, fps)
        self._size = (width, height)
        self.info = SourceInfo(
            name=f"test pattern {own_width}x{own_height}",
            width=own_width,
            height=own_height,
            fps=float(fps),
            codec="rgb24",
        )

    def frames(self) -> Iterator[RawFrame | AudioFrame]:
        from ...trickle.fit import PixelFitter

        fitter = PixelFitter(*self._size)
        number = 0
        while True:
            frame = self._pattern.frame(number)
            frame.pixels = fitter.fit(frame.pixels)
            yield frame
            number += 1


def _read_pattern(text: str, width: int, height: int) -> tuple[int, int, Fraction]:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise SourceError(f"pattern:{text} is not understood; write pattern: or pattern:512x512@30")
    own_width, own_height, fps = match.groups()
    sides = (int(own_width or width), int(own_height or height))
    if any(side not in _PATTERN_SIDES for side in sides):
        raise SourceError(
            f"pattern:{text}: a size from {_PATTERN_SIDES.start}x{_PATTERN_SIDES.start} "
            f"to {_PATTERN_SIDES.stop - 1}x{_PATTERN_SIDES.stop - 1} is possible"
        )
    rate = Fraction(fps or 30).limit_denominator(1001)
    if not 0 < rate <= _PATTERN_MAX_FPS:
        raise SourceError(f"pattern:{text}: a rate above 0 and up to {_PATTERN_MAX_FPS} pictures a second is possible")
    return *sides, rate

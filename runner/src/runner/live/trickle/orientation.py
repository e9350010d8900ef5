"""Orientation: how a frame has to be turned or mirrored to be upright."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    import av
    from av.buffer import Buffer

# FFmpeg's filters, by the signs of the two entries of a display matrix that are not zero.
_UPRIGHT = {(1, 1): (), (-1, 1): ("hflip",), (1, -1): ("vflip",), (-1, -1): ("hflip", "vflip")}
_SIDEWAYS = {
    (1, -1): ("transpose=clock",),
    (-1, 1): ("transpose=cclock",),
    (1, 1): ("transpose=cclock_flip",),
    (-1, -1): ("transpose=clock_flip",),
}


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways in which a camera can be held and a frame mirrored.

    Attributes:
        filters: of FFmpeg, that make the frame upright.
        sideways: width and height change places.
    """

    filters: tuple[str, ...] = ()
    sideways: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """Return the orientation that the frame's display matrix asks for, rounded to quarter turns.

        The matrix is that of ISO/IEC 14496-12, 6.2.2: ``x' = a x + c y``, ``y' = b x + d y``. One that
        maps the frame to a line or a point is ignored, as FFmpeg does.

        Only for some frames of a stream: PyAV links a frame to its side data in a circle, so from then on the frame
        and its memory wait for the garbage collector.
        """
        matrix = cast("Mapping[str, Buffer]", frame.side_data).get("DISPLAYMATRIX")
        if matrix is None:
            return _AS_IT_IS
        a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
        if not (a or c) or not (b or d):
            return _AS_IT_IS
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(_UPRIGHT[_sign(a), _sign(d)])
        return cls(_SIDEWAYS[_sign(b), _sign(c)], sideways=True)


def _sign(value: int) -> int:
    return -1 if value < 0 else 1


_AS_IT_IS = Orientation()

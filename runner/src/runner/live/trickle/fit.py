"""PictureFitter: a frame of any size and format as RGB pixels of exactly the size asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import av.filter
import numpy as np

from .orientation import Orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNSPECIFIED = 2
# Color matrices that FFmpeg's scaler cannot convert, by their number in ITU-T H.273.
_UNSUPPORTED_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE ST 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived, constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_RESERVED_MATRIX = 3
_USUAL_BITS = 8


class UnconvertibleFrame(Exception):
    """A frame's format or color tags have no conversion to RGB; the text names them and the reason."""


class PictureFitter:
    """Scales pictures to cover `width` x `height`, keeping their shape, and crops what stands over evenly.

    Attributes:
        width, height: of what comes out; see `resize`.
        orientation: of the frames that were fitted last.

    The crop comes before the scaling: it costs nothing there (only pointers move), and the scaler
    does not work on what would be thrown away. The chain is built once and again only when size,
    format, colors or orientation of the source's frames change.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.orientation = Orientation()
        self._shape: tuple[object, ...] = ()
        self._graph: av.filter.Graph | None = None

    def resize(self, width: int, height: int) -> None:
        """Another size from the next picture on. From any thread."""
        self.width, self.height = width, height

    def reopen(self) -> None:
        """The next frame is of another opening: look at its display matrix again."""
        self._shape = ()

    def fit(self, frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> NDArray[np.uint8]:
        """Return the frame as uint8 (height, width, 3), RGB, upright.

        The pixels are a view of memory that FFmpeg allocated for this frame alone; rows may be padded.

        Args:
            frame: the decoded frame; what its display matrix says (phones, front cameras) is applied.
            pixel_aspect: width of a pixel by its height where pixels are not square.

        Raises:
            UnconvertibleFrame: a pixel format or color matrix that cannot be converted.
        """
        aspect = pixel_aspect if pixel_aspect is not None and pixel_aspect > 0 else Fraction(1)
        if frame.colorspace == _RESERVED_MATRIX:  # FFmpeg's filters refuse a frame that is tagged so
            frame.colorspace = _UNSPECIFIED
        shape = (
            self.width,
            self.height,
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            frame.rotation,
            aspect,
        )
        try:
            if self._graph is None or shape != self._shape:
                self.orientation = Orientation.of(frame)
                self._graph = self._build(frame, aspect)
                self._shape = shape
            self._graph.vpush(frame)
            return pixels_of(self._graph.vpull())
        except (av.error.FFmpegError, ValueError) as error:
            self._graph = None
            raise UnconvertibleFrame(_reason(frame, error)) from error

    def _build(self, frame: av.VideoFrame, aspect: Fraction) -> av.filter.Graph:
        orientation = self.orientation
        width, height = (self.height, self.width) if orientation.sideways else (self.width, self.height)
        crop_width, crop_height = _covering_crop(frame.width, frame.height, width, height, aspect)
        steps = [f"crop={crop_width}:{crop_height}"] if (crop_width, crop_height) != (frame.width, frame.height) else []
        steps += [
            # Nothing here converts them, but the scaler refuses frames with rare ones, e.g. a logarithmic transfer.
            "setparams=color_primaries=unknown:color_trc=unknown",
            f"scale={width}:{height}:flags={_scaler_flags(frame.format)}",
            "format=rgb24",
            *orientation.filters,
        ]

        # Without colorspace and range the chain would take the first frame for a change of them.
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/90000:"
            f"pixel_aspect=1/1:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        )
        return filter_chain(source, steps)


def _scaler_flags(pixel_format: av.VideoFormat) -> str:
    """Return how to scale frames of a format: as near to their colors as FFmpeg's own default, or nearer.

    Without `full_chroma_int` the scaler converts to RGB through tables that fit 8-bit YUV (up to 3 levels
    off, as FFmpeg's default); other formats would be up to 5 levels off. With it each frame costs 0.5 ms more.
    """
    usual = not pixel_format.is_rgb and not pixel_format.has_palette
    usual = usual and all(component.bits == _USUAL_BITS for component in pixel_format.components)
    return "fast_bilinear" if usual else "fast_bilinear+full_chroma_int"


def _reason(frame: av.VideoFrame, error: Exception) -> str:
    matrix = int(frame.colorspace)
    if matrix in _UNSUPPORTED_MATRICES:
        return f"color matrix {_UNSUPPORTED_MATRICES[matrix]} ({matrix}): FFmpeg cannot convert it to RGB"
    reason = getattr(error, "strerror", None) or str(error)
    return f"{frame.format.name} frames of {frame.width}x{frame.height} cannot be converted to RGB ({reason})"


class PixelFitter:
    """The same for pictures that are RGB pixels already."""

    def __init__(self, width: int, height: int) -> None:
        self._fitter = PictureFitter(width, height)

    def fit(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels uint8 (H, W, 3) as uint8 (height, width, 3); the very same array where it fits."""
        if pixels.shape[:2] == (self._fitter.height, self._fitter.width):
            return pixels
        return self._fitter.fit(av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), "rgb24"))


def filter_chain(source: str, steps: list[str]) -> av.filter.Graph:
    """FFmpeg's filters one after the other, e.g. ``scale=512:512``; what comes out has memory of a pool, used again.

    Args:
        source: of the pictures that will be pushed, as options of the filter ``buffer``.
    """
    graph = av.filter.Graph()
    if hasattr(graph, "threads"):  # newer versions of av; pictures are too small to gain from a thread per core
        graph.threads = 1
    last = graph.add("buffer", source)
    for step in steps:
        name, _, arguments = step.partition("=")
        following = graph.add(name, arguments or None)
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def pixels_of(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """A view of an rgb24 frame's only plane, uint8 (height, width, 3); it keeps the plane alive."""
    plane = frame.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _covering_crop(width: int, height: int, to_width: int, to_height: int, aspect: Fraction) -> tuple[int, int]:
    """The largest part (width, height) of a picture that has the target's shape, in source pixels."""
    shape = Fraction(to_width, to_height) / aspect
    crop_width = min(width, round(height * shape))
    crop_height = min(height, round(width / shape))
    return max(crop_width, 1), max(crop_height, 1)

"""PictureFitter: a picture of any size and format as RGB pixels of exactly the size asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.filter
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Clockwise turns, as FFmpeg's filters, by the counter-clockwise degrees that a display matrix asks for.
_TURNS = {90: ("transpose=cclock",), 180: ("hflip", "vflip"), 270: ("transpose=clock",)}


class PictureFitter:
    """Scales pictures to cover `width` x `height`, keeping their shape, and crops what stands over evenly.

    The crop comes before the scaling: it costs nothing there (only pointers move), and the scaler
    does not work on what would be thrown away. The chain is built once and again only when size,
    format, colours or rotation of the source's pictures change.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._shape: tuple[object, ...] = ()
        self._graph: av.filter.Graph | None = None

    def resize(self, width: int, height: int) -> None:
        """Another size from the next picture on. From any thread."""
        self.width, self.height = width, height

    def fit(self, frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3), RGB.

        The pixels are a view of memory that FFmpeg allocated for this picture alone; rows may be padded.

        Args:
            frame: the decoded picture; its rotation (phones) is undone.
            pixel_aspect: width of a pixel by its height where pixels are not square.

        Raises:
            av.error.FFmpegError, ValueError: a picture format that cannot be converted.
        """
        rotation = round(frame.rotation / 90) * 90 % 360
        aspect = pixel_aspect if pixel_aspect is not None and pixel_aspect > 0 else Fraction(1)
        shape = (
            self.width,
            self.height,
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            rotation,
            aspect,
        )
        if self._graph is None or shape != self._shape:
            self._graph = self._build(frame, rotation, aspect)
            self._shape = shape
        self._graph.vpush(frame)
        return pixels_of(self._graph.vpull())

    def _build(self, frame: av.VideoFrame, rotation: int, aspect: Fraction) -> av.filter.Graph:
        turned = rotation in (90, 270)
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        crop_width, crop_height = _covering_crop(frame.width, frame.height, width, height, aspect)
        steps = [f"crop={crop_width}:{crop_height}"] if (crop_width, crop_height) != (frame.width, frame.height) else []
        steps += [f"scale={width}:{height}:flags=fast_bilinear", "format=rgb24", *_TURNS.get(rotation, ())]

        # Without colorspace and range the chain would take the first picture for a change of them.
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/90000:"
            f"pixel_aspect=1/1:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        )
        return filter_chain(source, steps)


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

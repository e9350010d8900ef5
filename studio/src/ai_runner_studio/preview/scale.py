"""Pictures made as small as a terminal wants them, by plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLES = 3  # pixels averaged per output pixel and axis; more cost time and cannot be seen at this size


def fit(width: int, height: int, box_width: int, box_height: int, aspect: float = 1.0) -> tuple[int, int]:
    """The largest size inside a box that keeps a picture's shape; at least 1 x 1.

    Args:
        width, height: of the picture, in its own square pixels.
        box_width, box_height: in pixels of the screen.
        aspect: width of a screen pixel divided by its height.
    """
    if min(width, height, box_width, box_height) < 1:
        return 1, 1
    scale = min(box_width * aspect / width, box_height / height)
    return max(1, min(box_width, round(width * scale / aspect))), max(1, min(box_height, round(height * scale)))


def resize(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A uint8 (H, W, 3) picture as (`height`, `width`, 3): averaged over areas going down, nearest going up."""
    source_height, source_width = pixels.shape[:2]
    if (source_width, source_height) == (width, height):
        return pixels
    if source_width < 2 * width or source_height < 2 * height:
        return nearest(pixels, width, height)
    # Looking at every pixel of a large picture costs more than drawing it: thin out first, then average.
    step_y = max(1, source_height // (height * _SAMPLES))
    step_x = max(1, source_width // (width * _SAMPLES))
    return _average(pixels[::step_y, ::step_x], width, height)


def nearest(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A uint8 (H, W, 3) picture as (`height`, `width`, 3), each pixel the nearest one of the source."""
    rows = (np.arange(height) * 2 + 1) * pixels.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * pixels.shape[1] // (2 * width)
    picked: NDArray[np.uint8] = pixels[rows[:, None], columns]
    return picked


def mean_colour(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Mean red, green and blue (0-255) of a picture, from at most some 64 x 64 of its pixels."""
    thin = pixels[:: max(1, pixels.shape[0] // 64), :: max(1, pixels.shape[1] // 64)]
    red, green, blue = thin.reshape(-1, 3).mean(axis=0).round().astype(int)
    return int(red), int(green), int(blue)


def _average(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    sums: NDArray[Any] = np.add.reduceat(pixels, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1)
    counts = _spans(rows, pixels.shape[0])[:, None] * _spans(columns, pixels.shape[1])
    means: NDArray[np.uint8] = ((sums + counts[..., None] // 2) // counts[..., None]).astype(np.uint8)
    return means


def _spans(starts: NDArray[Any], end: int) -> NDArray[np.uint32]:
    """How many source lines each output line is made of."""
    return np.diff(starts, append=end).astype(np.uint32)

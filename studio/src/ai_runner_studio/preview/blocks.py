"""Half-block pictures: each cell is ``▀`` with the upper pixel as foreground and the lower as background.

Whole rows are encoded by numpy: a matrix with the longest possible escape sequence per cell, and a
mask of the bytes that are needed (a colour that the cell to the left already set is left out, and so
are leading zeros). A style object per cell would cost thirty times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# "few levels": colours of 24 bits, of which neighbours are equal more often, which makes the text 40 % shorter.
Depth = Literal["24-bit", "few levels", "256"]

BLOCK = "▀"
_RESET = "\x1b[0m"
_BLOCK_BYTES = BLOCK.encode()
_LEVEL_STEP = 17  # 16 levels per channel
_FEW_LEVELS = (np.round(np.arange(256) / _LEVEL_STEP) * _LEVEL_STEP).astype(np.uint8)
_LEVELS_256 = np.array([0, 95, 135, 175, 215, 255])


def encode_rows(pixels: NDArray[np.uint8], depth: Depth) -> list[str]:
    """Rows of cells as ANSI text.

    Args:
        pixels: uint8 (2 * rows, columns, 3), RGB; the even lines are the upper halves.
        depth: how colours are named.

    Returns:
        One string per row; each sets its colours from nothing and ends with a reset.
    """
    if depth == "256":
        indices = nearest_256(pixels)
        return _encode(indices[0::2, :, None], indices[1::2, :, None], _DIGITS_256)
    if depth == "few levels":
        pixels = _FEW_LEVELS[pixels]
    return _encode(pixels[0::2], pixels[1::2], _DIGITS_24_BIT)


def nearest_256(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index of the nearest colour of the 256-colour palette, uint8 (H, W); 0-15 are never used (themes change them)."""
    coarse = (pixels >> 3).astype(np.intp)
    index: NDArray[np.uint8] = _PALETTE_INDEX[(coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]]
    return index


class _Digits:
    """How a colour is written after ``38;`` or ``48;``, at its longest, and how much of it each value needs.

    Attributes:
        prefix: e.g. ``2;``. text: uint8 (256, 3), decimal digits. needed: bool (256, 3), False at leading zeros.
    """

    def __init__(self, prefix: bytes, channels: int) -> None:
        self.prefix = prefix
        self.channels = channels
        self.text = np.array([list(b"%03d" % value) for value in range(256)], np.uint8)
        self.needed = np.array([[value > 99, value > 9, True] for value in range(256)])
        self.width = 3 + len(prefix) + 4 * channels - 1

    def template(self, selector: bytes) -> NDArray[np.uint8]:
        return np.frombuffer(selector + b";" + self.prefix + b";".join([b"000"] * self.channels), np.uint8)

    def fill(self, out: NDArray[np.uint8], mask: NDArray[np.bool_], colours: NDArray[np.uint8]) -> None:
        for channel in range(self.channels):
            start = 3 + len(self.prefix) + 4 * channel
            out[..., start : start + 3] = self.text[colours[..., channel]]
            mask[..., start : start + 3] = self.needed[colours[..., channel]]


def _encode(upper: NDArray[np.uint8], lower: NDArray[np.uint8], digits: _Digits) -> list[str]:
    """Rows of cells from colours (rows, columns, channels)."""
    rows, columns = upper.shape[:2]
    if not rows:
        return []
    head, tail = 2, 1 + len(_BLOCK_BYTES)
    fore, back = head, head + digits.width + 1
    text = np.empty((rows, columns, back + digits.width + tail), np.uint8)
    mask = np.ones(text.shape, np.bool_)
    template = b"\x1b[" + digits.template(b"38").tobytes() + b";" + digits.template(b"48").tobytes()
    text[:] = np.frombuffer(template + b"m" + _BLOCK_BYTES, np.uint8)

    digits.fill(text[..., fore:], mask[..., fore:], upper)
    digits.fill(text[..., back:], mask[..., back:], lower)
    new_fore, new_back = _changes(upper), _changes(lower)
    mask[..., fore : fore + digits.width] &= new_fore[..., None]
    mask[..., back : back + digits.width] &= new_back[..., None]
    mask[..., back - 1] = new_fore & new_back
    either = new_fore | new_back
    mask[..., :head] = either[..., None]
    mask[..., back + digits.width] = either

    flat = text[mask].tobytes()
    ends = np.cumsum(np.count_nonzero(mask.reshape(rows, columns * mask.shape[2]), axis=1)).tolist()
    starts = [0, *ends[:-1]]
    return [flat[start:end].decode() + _RESET for start, end in zip(starts, ends, strict=True)]


def _changes(colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a cell's colour differs from that of the cell to its left; always in the first column."""
    changed = np.ones(colours.shape[:2], np.bool_)
    changed[:, 1:] = (colours[:, 1:] != colours[:, :-1]).any(axis=-1)
    return changed


def _palette_index() -> NDArray[np.uint8]:
    """Palette index of the nearest colour for every colour of 5 bits per channel, uint8 (32768,)."""
    axis = np.arange(32) * 255 // 31
    red, green, blue = (part.ravel() for part in np.meshgrid(axis, axis, axis, indexing="ij"))
    channels = np.stack([red, green, blue], axis=-1)
    nearest_level = np.abs(channels[..., None] - _LEVELS_256).argmin(axis=-1)
    cube = _LEVELS_256[nearest_level]
    grey_step = np.clip((channels.mean(axis=-1) - 8 + 5) // 10, 0, 23).astype(int)
    grey = (8 + 10 * grey_step)[:, None]
    cube_error = ((channels - cube) ** 2).sum(axis=-1)
    grey_error = ((channels - grey) ** 2).sum(axis=-1)
    cube_index = 16 + 36 * nearest_level[:, 0] + 6 * nearest_level[:, 1] + nearest_level[:, 2]
    index: NDArray[Any] = np.where(grey_error < cube_error, 232 + grey_step, cube_index)
    return index.astype(np.uint8)


_DIGITS_24_BIT = _Digits(b"2;", 3)
_DIGITS_256 = _Digits(b"5;", 1)
_PALETTE_INDEX = _palette_index()

"""Sixel pictures: bands of six lines, one layer per colour, on a fixed palette of 6 x 7 x 6 colours.

Everything from pixels to run-length tokens is done by numpy for the whole picture at once; the fixed
palette saves looking for one and sends the same colours every frame, which keeps still parts still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = (6, 7, 6)  # red, green, blue; the eye sees green best
COLOURS = _LEVELS[0] * _LEVELS[1] * _LEVELS[2]
_BAND = 6  # lines per band
_MAX_TOKEN = 6  # "!9999x"
# An ordered (Bayer) pattern in [0, 1), for rounding down: smooth gradients without the restlessness of error diffusion.
_BAYER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) + 0.5) / 16


def palette() -> NDArray[np.uint8]:
    """The colours by index, uint8 (COLOURS, 3)."""
    axes = [np.arange(count) * 255 / (count - 1) for count in _LEVELS]
    grid = np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")], axis=-1)
    colours: NDArray[np.uint8] = grid.round().astype(np.uint8)
    return colours


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """A uint8 (H, W, 3) picture, up to 9999 pixels wide, as one sixel sequence that leaves the rest alone."""
    height, width = pixels.shape[:2]
    return b'\x1bP0;1q"1;1;%d;%d' % (width, height) + _PALETTE_TEXT + _body(_indices(pixels)) + b"\x1b\\"


def _indices(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Palette index of every pixel, (H, W), dithered."""
    height, width = pixels.shape[:2]
    dither = np.tile(_BAYER, (height // 4 + 1, width // 4 + 1))[:height, :width]
    index = np.zeros((height, width), np.int32)
    for channel, count in enumerate(_LEVELS):
        level = pixels[..., channel] * np.float32((count - 1) / 255)
        level += dither
        index *= count
        index += np.clip(level, 0, count - 1, out=level).astype(np.uint8)
    return index


def _body(indices: NDArray[np.int32]) -> bytes:
    """All layers as sixel text: ``#colour`` at the head of a layer, ``$`` between layers, ``-`` between bands."""
    layer, column, bits = _sixels(indices)
    new_layer = np.ones(len(layer), np.bool_)
    new_layer[1:] = layer[1:] != layer[:-1]
    new_run = new_layer.copy()
    new_run[1:] |= (column[1:] != column[:-1] + 1) | (bits[1:] != bits[:-1])
    begin = np.flatnonzero(new_run)
    length = np.diff(begin, append=len(bits))
    heads = new_layer[begin]
    end = column[begin] + length
    gap = column[begin] - np.where(heads, 0, np.roll(end, 1))

    text, mask = _run_text(np.stack([gap, length], axis=1).ravel(), np.stack([0 * gap, bits[begin]], axis=1).ravel())
    sizes = np.add.reduceat(np.count_nonzero(mask, axis=1).reshape(-1, 2).sum(axis=1), np.flatnonzero(heads))
    return _join(text[mask].tobytes(), sizes.tolist(), layer[new_layer].tolist())


def _sixels(indices: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Every sixel that is not empty, in the order of writing: its layer (band, colour), column and six bits."""
    height, width = indices.shape
    lines = np.arange(height, dtype=np.int32)[:, None]
    keys = ((lines // _BAND * COLOURS + indices) * width + np.arange(width, dtype=np.int32)) * 8 + lines % _BAND
    keys = np.sort(keys, axis=None)
    place = keys >> 3
    first = np.ones(len(place), np.bool_)
    first[1:] = place[1:] != place[:-1]
    bits = np.bitwise_or.reduceat(1 << (keys & 7), np.flatnonzero(first))
    layer, column = np.divmod(place[first], np.int32(width))
    return layer, column, bits


def _run_text(length: NDArray[np.int32], value: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Each run as ``!1234x`` in (runs, 6) bytes, and which of the bytes it needs; short runs are repeated instead."""
    text = np.empty((len(length), _MAX_TOKEN), np.uint8)
    text[:] = (value + 63)[:, None]
    mask: NDArray[np.bool_] = np.arange(_MAX_TOKEN) < length[:, None]
    long = np.flatnonzero(length > 3)
    text[long, 0] = ord("!")
    text[long, 1:5] = _DIGITS[length[long]]
    mask[long] = True
    for position, least in enumerate((1000, 100, 10), 1):
        mask[long, position] = length[long] >= least
    return text, mask


def _join(text: bytes, sizes: list[int], layers: list[int]) -> bytes:
    parts: list[bytes] = []
    start, band = 0, 0
    first = True
    for layer, size in zip(layers, sizes, strict=True):
        layer_band, colour = divmod(layer, COLOURS)
        if layer_band != band:
            parts.append(b"-" * (layer_band - band))
            band, first = layer_band, True
        parts.append(b"#%d" % colour if first else b"$#%d" % colour)
        parts.append(text[start : start + size])
        start += size
        first = False
    return b"".join(parts)


_DIGITS = np.array([list(b"%04d" % number) for number in range(10_000)], np.uint8)
_PALETTE_TEXT = b"".join(
    b"#%d;2;%d;%d;%d" % (index, *(round(int(part) / 2.55) for part in colour)) for index, colour in enumerate(palette())
)

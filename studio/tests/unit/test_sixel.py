"""Sixel encoding, read back with a small decoder of the format."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_runner_studio.preview.sixel import COLOURS, encode, palette

_COLOUR = re.compile(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?")
_RUN = re.compile(rb"!(\d+)(.)", re.DOTALL)


def decode(data: bytes) -> NDArray[np.int64]:
    """Palette index of every pixel; -1 where nothing was drawn."""
    head = re.match(rb'\x1bP0;1q"1;1;(\d+);(\d+)', data)
    assert head is not None
    assert data.endswith(b"\x1b\\")
    width, height = int(head[1]), int(head[2])
    screen = np.full((height + 6, width), -1)
    position, band, x, colour = head.end(), 0, 0, 0
    end = len(data) - 2
    while position < end:
        if match := _COLOUR.match(data, position):
            colour = int(match[1])
            position = match.end()
            continue
        if match := _RUN.match(data, position):
            count, sixel = int(match[1]), match[2][0]
            position = match.end()
        else:
            count, sixel = 1, data[position]
            position += 1
        if sixel == ord("$"):
            x = 0
        elif sixel == ord("-"):
            x, band = 0, band + 1
        else:
            assert 63 <= sixel <= 126
            for line in range(6):
                if (sixel - 63) >> line & 1:
                    area = screen[band * 6 + line, x : x + count]
                    assert (area == -1).all(), "drawn over"
                    area[:] = colour
            x += count
            assert x <= width
    assert (screen[height:] == -1).all(), "drawn below the picture"
    return screen[:height]


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 5), (13, 40), (120, 200)])
def test_every_pixel_is_drawn_once_in_a_near_colour(height: int, width: int) -> None:
    pixels = gradient(height, width)
    decoded = decode(encode(pixels))
    assert decoded.min() >= 0
    difference = palette()[decoded].astype(int) - pixels
    assert np.abs(difference).max() <= 52  # one level of the palette at most


def test_dithering_keeps_the_mean_of_a_colour_between_two_levels() -> None:
    pixels = np.full((48, 48, 3), (100, 60, 200), np.uint8)
    mean = palette()[decode(encode(pixels))].reshape(-1, 3).mean(axis=0)
    assert np.abs(mean - (100, 60, 200)).max() < 4


def test_a_palette_colour_stays_what_it_is() -> None:
    for colour in palette()[[0, COLOURS // 2, COLOURS - 1]]:
        decoded = decode(encode(np.full((12, 12, 3), colour, np.uint8)))
        assert (np.abs(palette()[decoded].astype(int) - colour) <= 1).all()


def test_a_flat_wide_picture_is_short() -> None:
    data = encode(np.zeros((6, 1200, 3), np.uint8))
    assert b"#0!1200~" in data


def test_the_palette_is_told_before_it_is_used() -> None:
    told = {int(match[1]) for match in _COLOUR.finditer(encode(gradient(20, 20))) if match[2]}
    assert told == set(range(COLOURS))

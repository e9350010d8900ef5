"""Half-block encoding, read back with a small ANSI reader."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_runner_studio.preview.blocks import Depth, encode_rows, nearest_256

_TOKEN = re.compile(r"\x1b\[([0-9;]*)m|(▀)")


def palette_256(index: int) -> tuple[int, int, int]:
    if index >= 232:
        level = 8 + 10 * (index - 232)
        return level, level, level
    levels = (0, 95, 135, 175, 215, 255)
    index -= 16
    return levels[index // 36], levels[index // 6 % 6], levels[index % 6]


def read_row(text: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Foreground and background of every cell, as a terminal would have it."""
    fore: tuple[int, ...] = ()
    back: tuple[int, ...] = ()
    cells = []
    position = 0
    for token in _TOKEN.finditer(text):
        assert token.start() == position, "bytes that are neither colour nor block"
        position = token.end()
        if token[2]:
            cells.append((fore, back))
            continue
        numbers = [int(number or 0) for number in token[1].split(";")]
        while numbers:
            what = numbers.pop(0)
            if what == 0:
                continue
            kind = numbers.pop(0)
            colour = tuple(numbers.pop(0) for _ in range(3)) if kind == 2 else palette_256(numbers.pop(0))
            fore, back = (colour, back) if what == 38 else (fore, colour)
    assert position == len(text)
    return cells


def picture(rows: int, columns: int, seed: int = 1) -> NDArray[np.uint8]:
    """Noise with flat parts, which are the ones that may be left out."""
    pixels = np.random.default_rng(seed).integers(0, 256, (2 * rows, columns, 3), np.uint8)
    pixels[:, columns // 3 : columns // 2] = (0, 7, 199)
    pixels[2:4] = (9, 10, 99)
    return pixels


class TestTrueColour:
    @pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 40), (18, 60)])
    def test_rows_decode_to_the_very_pixels(self, rows: int, columns: int) -> None:
        pixels = picture(max(2, rows), columns)
        encoded = encode_rows(pixels, "24-bit")
        assert len(encoded) == max(2, rows)
        for number, row in enumerate(encoded):
            expected = [
                (tuple(upper), tuple(lower))
                for upper, lower in zip(pixels[2 * number].tolist(), pixels[2 * number + 1].tolist(), strict=True)
            ]
            assert read_row(row) == expected

    def test_each_row_stands_alone_and_resets(self) -> None:
        for row in encode_rows(picture(4, 10), "24-bit"):
            assert row.startswith("\x1b[38;2;")
            assert row.endswith("\x1b[0m")

    def test_a_flat_row_names_its_colours_once(self) -> None:
        (row,) = encode_rows(np.full((2, 50, 3), 7, np.uint8), "24-bit")
        assert row == "\x1b[38;2;7;7;7;48;2;7;7;7m" + "▀" * 50 + "\x1b[0m"


class Test256Colours:
    def test_colours_are_near_and_shorter_to_say(self) -> None:
        pixels = picture(6, 30)
        encoded = encode_rows(pixels, "256")
        for number, row in enumerate(encoded):
            for (upper, lower), top, bottom in zip(
                read_row(row), pixels[2 * number].tolist(), pixels[2 * number + 1].tolist(), strict=True
            ):
                assert np.abs(np.subtract(upper, top)).max() <= 52  # the palette has gaps of 95
                assert np.abs(np.subtract(lower, bottom)).max() <= 52
        assert len("".join(encoded)) < 0.6 * len("".join(encode_rows(pixels, "24-bit")))

    def test_only_colours_that_themes_do_not_change_are_used(self) -> None:
        every = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)
        assert nearest_256(every).min() >= 16

    @pytest.mark.parametrize(("colour", "index"), [((0, 0, 0), 16), ((255, 255, 255), 231), ((255, 0, 0), 196)])
    def test_corners_of_the_cube_are_exact(self, colour: tuple[int, int, int], index: int) -> None:
        assert nearest_256(np.array([[colour]], np.uint8))[0, 0] == index


@pytest.mark.parametrize("depth", ["24-bit", "256"])
def test_a_picture_without_rows_or_columns_is_no_error(depth: Depth) -> None:
    """A pane may have been squeezed to nothing."""
    assert encode_rows(np.zeros((0, 40, 3), np.uint8), depth) == []
    assert [read_row(row) for row in encode_rows(np.zeros((4, 0, 3), np.uint8), depth)] == [[], []]


def test_few_levels_are_near_the_picture_and_shorter() -> None:
    ramp = np.linspace(0, 255, 3 * 200).astype(np.uint8).reshape(200, 3)
    pixels = np.stack([ramp, ramp])
    full, few = encode_rows(pixels, "24-bit")[0], encode_rows(pixels, "few levels")[0]
    assert len(few) < len(full) / 2
    channels = [
        int(channel) for colour in re.findall(r"38;2;([0-9;]+?)(?:m|;48)", few) for channel in colour.split(";")
    ]
    assert {channel % 17 for channel in channels} == {0}
    assert max(channels) == 255

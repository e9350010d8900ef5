"""Sizes and reductions of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from ai_runner_studio.preview import ramp
from ai_runner_studio.preview.scale import fit, mean_colour, nearest, resize


@pytest.mark.parametrize(
    ("picture", "box", "aspect", "expected"),
    [
        ((512, 512), (60, 36), 1.0, (36, 36)),
        ((1280, 720), (60, 60), 1.0, (60, 34)),
        ((512, 512), (60, 36), 0.5, (60, 30)),
        ((100, 1), (10, 10), 1.0, (10, 1)),
        ((512, 512), (0, 5), 1.0, (1, 1)),
    ],
)
def test_fit_keeps_the_shape(
    picture: tuple[int, int], box: tuple[int, int], aspect: float, expected: tuple[int, int]
) -> None:
    assert fit(*picture, *box, aspect) == expected


def test_resize_down_averages() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    small = resize(pixels, 16, 16)
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 128).max() <= 30


@pytest.mark.parametrize("size", [(17, 23), (64, 48), (200, 100), (1, 1)])
def test_resize_keeps_a_flat_picture_flat(size: tuple[int, int]) -> None:
    pixels = np.full((480, 640, 3), (12, 200, 99), np.uint8)
    small = resize(pixels, *size)
    assert small.shape == (size[1], size[0], 3)
    assert (small == (12, 200, 99)).all()


def test_resize_keeps_places() -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[:150, 150:] = 255
    small = resize(pixels, 10, 10)
    assert (small[:5, 5:] == 255).all()
    assert (small[5:] == 0).all()


def test_nearest_up_repeats_pixels() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (nearest(pixels, 4, 4) == pixels.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_mean_colour() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    pixels[:, 256:] = (200, 100, 50)
    assert mean_colour(pixels) == (100, 50, 25)


def test_ramp_goes_from_space_to_at() -> None:
    grey = np.linspace(0, 255, 64).astype(np.uint8)
    (row,) = ramp.encode_rows(np.repeat(grey[None, :, None], 3, axis=2))
    assert row[0] == " "
    assert row[-1] == "@"
    assert [" .:-=+*#%@".index(character) for character in row] == sorted(map(" .:-=+*#%@".index, row))

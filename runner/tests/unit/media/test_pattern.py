from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from runner.live.trickle.fit import PixelFitter
from runner.live.trickle.pattern import TestPattern, read_frame_number


@pytest.mark.parametrize("size", [(512, 512), (1280, 720), (360, 640), (96, 64)])
def test_every_picture_carries_its_number(size: tuple[int, int]) -> None:
    pattern = TestPattern(*size)
    for number in [*range(20), 4095, 65_536, 2**20 - 1]:
        picture = pattern.picture(number)
        assert picture.shape == (size[1], size[0], 3)
        assert picture.dtype == np.uint8
        assert read_frame_number(picture) == number


def test_the_number_survives_scaling_and_a_crop_to_the_square() -> None:
    picture = TestPattern(1280, 720).picture(777)
    assert read_frame_number(PixelFitter(320, 320).fit(picture)) == 777
    assert read_frame_number(PixelFitter(640, 360).fit(picture)) == 777


def test_numbers_begin_again_after_twenty_bits() -> None:
    assert read_frame_number(TestPattern(128, 128).picture(2**20 + 5)) == 5


def test_other_pictures_have_no_number() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    picture = TestPattern(256, 256).picture(9)
    for other in (noise, np.zeros_like(noise), np.full_like(noise, 255), 255 - picture, picture // 2):
        assert read_frame_number(other) is None


def test_pictures_move_and_are_not_shared() -> None:
    pattern = TestPattern(256, 256)
    first, again = pattern.picture(0), pattern.picture(0)
    assert np.array_equal(first, again)
    assert not np.shares_memory(first, again)
    middle = slice(80, 200)
    assert (pattern.picture(5)[middle] != first[middle]).mean() > 0.3


def test_frames_have_the_rate_as_time_base() -> None:
    frame = TestPattern(64, 64, Fraction(30000, 1001)).frame(30)
    assert (frame.pts, frame.time_base) == (30, Fraction(1001, 30000))

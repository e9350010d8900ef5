from __future__ import annotations

import itertools

import numpy as np
import pytest

from runner.live.process.overlay import LoadingPicture
from runner.live.trickle.pattern import TestPattern


@pytest.mark.parametrize("size", [(512, 512), (1280, 720), (360, 640), (64, 48), (8, 8), (2, 2)])
def test_has_the_size_asked_for(size: tuple[int, int]) -> None:
    picture = LoadingPicture().draw(None, *size)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8


def test_shows_the_last_picture_dimmed() -> None:
    last = TestPattern(512, 512).picture(3)
    corner = LoadingPicture().draw(last, 512, 512)[:150].astype(int)
    assert np.abs(corner - last[:150].astype(int) * 6 // 16).max() <= 1


def test_a_last_picture_of_another_size_is_scaled() -> None:
    last = np.zeros((100, 200, 3), np.uint8)
    last[:50] = 160
    picture = LoadingPicture().draw(last, 400, 400)
    assert (picture[10, 10] == 60).all()
    assert (picture[390, 390] == 0).all()


def test_text_is_light_and_in_the_middle() -> None:
    loading = LoadingPicture()
    bright = loading.draw(None, 512, 512, "Reloading…") > 200
    ys, xs, _ = np.nonzero(bright[270:])
    assert xs.mean() == pytest.approx(255, abs=6)
    assert np.ptp(xs) > 80
    assert ys.max() + 270 < 360
    assert not np.array_equal(loading.draw(None, 512, 512, "Loading…"), loading.draw(None, 512, 512, "Reloading…"))


def test_the_spinner_turns_with_time_and_comes_around() -> None:
    loading = LoadingPicture()
    turns = [loading.draw(None, 256, 256, elapsed_s=0.05 + step * 0.1) for step in range(10)]
    for one, next_one in itertools.pairwise(turns):
        assert not np.array_equal(one, next_one)
    spinner = (slice(88, 130), slice(108, 150))
    begin, after_a_turn = loading.draw(None, 256, 256, elapsed_s=2.05), loading.draw(None, 256, 256, elapsed_s=3.25)
    assert np.array_equal(begin[spinner], after_a_turn[spinner])


def test_seconds_are_shown() -> None:
    loading = LoadingPicture()
    below = slice(150, 190)
    first, second = loading.draw(None, 256, 256, elapsed_s=1.2), loading.draw(None, 256, 256, elapsed_s=2.4)
    assert not np.array_equal(first[below], second[below])


def test_pictures_are_the_callers_own() -> None:
    loading = LoadingPicture()
    picture = loading.draw(None, 128, 128)
    picture[:] = 0
    assert loading.draw(None, 128, 128).any()


def test_a_new_last_picture_is_noticed() -> None:
    loading = LoadingPicture()
    dark, light = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    assert loading.draw(dark, 64, 64)[0, 0, 0] == 0
    assert loading.draw(light, 64, 64)[0, 0, 0] == 75
    assert loading.draw(None, 64, 64)[0, 0, 0] == 44

"""LoadingPicture: what the screen shows while a pipeline loads: the last picture dimmed, a spinner, a word."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GREY = (44, 46, 54)
_DIM_NUMERATOR, _DIM_SHIFT = 6, 4  # brightness of the last picture: 6/16
_SPOKES = 12
_SECONDS_PER_TURN = 1.2
_LIGHT = (240, 244, 255)


class LoadingPicture:
    """Draws loading pictures; what stays the same from one to the next is kept.

    One call at 30 fps costs a copy of the picture and the blending of a small spinner. The last
    picture is recognised by being the same array, so pass a copy that is not written any more.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._last: NDArray[np.uint8] | None = None
        self._dimmed: NDArray[np.uint8] | None = None
        self._scene: NDArray[np.uint8] | None = None

    def draw(
        self, last: NDArray[np.uint8] | None, width: int, height: int, text: str = "Loading…", elapsed_s: float = 0.0
    ) -> NDArray[np.uint8]:
        """A new picture, uint8 (height, width, 3), RGB.

        Args:
            last: the pipeline's last output, uint8 (H, W, 3); of another size it is scaled roughly.
                None gives a grey ground.
            text: one line, e.g. ``Reloading…``; left out where it is wider than the picture.
            elapsed_s: how long it has lasted: turns the spinner, and is shown in whole seconds from 1 on.
        """
        seconds = int(elapsed_s)
        key = (width, height, text, seconds)
        if self._scene is None or last is not self._last or key != self._key:
            if self._dimmed is None or last is not self._last or self._dimmed.shape[:2] != (height, width):
                self._dimmed = _dimmed(last, width, height)
            self._scene = self._dimmed.copy()
            _blend_text(self._scene, f"{text} {seconds} s" if seconds else text)
            self._key, self._last = key, last
        picture: NDArray[np.uint8] = self._scene.copy()
        turn = int(elapsed_s / _SECONDS_PER_TURN * _SPOKES) % _SPOKES
        _blend(picture, _spinner(_spinner_radius(width, height), turn), _spinner_centre(width, height))
        return picture


def _dimmed(last: NDArray[np.uint8] | None, width: int, height: int) -> NDArray[np.uint8]:
    if last is None:
        return np.full((height, width, 3), _GREY, np.uint8)
    if last.shape[:2] != (height, width):
        rows = np.arange(height) * last.shape[0] // height
        columns = np.arange(width) * last.shape[1] // width
        last = last[rows[:, None], columns[None, :]]
    brightness = last.astype(np.uint16)
    brightness *= _DIM_NUMERATOR
    brightness >>= _DIM_SHIFT
    return brightness.astype(np.uint8)


def _spinner_radius(width: int, height: int) -> int:
    return max(4, min(width, height) // 14)


def _spinner_centre(width: int, height: int) -> tuple[int, int]:
    """(x, y); above the text, and with it in the middle."""
    return width // 2, height // 2 - _spinner_radius(width, height)


def _blend_text(picture: NDArray[np.uint8], text: str) -> None:
    height, width = picture.shape[:2]
    radius = _spinner_radius(width, height)
    cover = _text_cover(text, max(9, radius * 3 // 4))
    if cover.shape[1] <= width:
        _blend(picture, cover, (width // 2, height // 2 + radius + cover.shape[0] // 2 + radius // 4))


@lru_cache(maxsize=8)
def _text_cover(text: str, size: int) -> NDArray[np.float32]:
    """How much each pixel is covered by the text, float32 (H, W, 1) in [0, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=size)
    left, top, right, bottom = (math.floor(side) for side in font.getbbox(text))
    image = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, 255, font)
    cover = np.array(image, np.float32)[..., None]
    cover /= 255
    return cover


@lru_cache(maxsize=2 * _SPOKES)
def _spinner(radius: int, turn: int) -> NDArray[np.float32]:
    """A ring of dots, the one at `turn` the brightest, those before it fading; as `_text_cover`."""
    axis = np.arange(-radius, radius + 1, dtype=np.float32)
    dot_radius = max(1.0, radius / 7)
    cover = np.zeros((axis.size, axis.size), np.float32)
    for spoke in range(_SPOKES):
        angle = math.tau * spoke / _SPOKES
        x, y = math.sin(angle) * (radius - dot_radius), -math.cos(angle) * (radius - dot_radius)
        age = (turn - spoke) % _SPOKES
        dot = np.clip(dot_radius + 0.5 - np.hypot(axis[None, :] - x, axis[:, None] - y), 0, 1)
        np.maximum(cover, dot * (1 - 0.85 * age / (_SPOKES - 1)), out=cover)
    return cover[..., None]


def _blend(picture: NDArray[np.uint8], cover: NDArray[np.float32], centre: tuple[int, int]) -> None:
    """Put light onto the picture where `cover` says so, around `centre` (x, y); what stands over is left out."""
    height, width = picture.shape[:2]
    top, left = centre[1] - cover.shape[0] // 2, centre[0] - cover.shape[1] // 2
    skip_top, skip_left = max(0, -top), max(0, -left)
    top, left = max(0, top), max(0, left)
    cover = cover[skip_top : skip_top + height - top, skip_left : skip_left + width - left]
    under = picture[top : top + cover.shape[0], left : left + cover.shape[1]]
    under[:] = (under * (1 - cover) + np.array(_LIGHT, np.float32) * cover).astype(np.uint8)

"""TestPattern: a moving picture with its frame number in it, to read and to be read by a program.

The number stands at the bottom for people and, as two rows of black and white cells, at the top for
`read_frame_number`. The cells lie in the central square of the picture and are large, so that they
survive H.264, scaling, and a crop to the square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .frame import RawFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_FPS = 30
_ROWS, _COLUMNS = 2, 12
_NUMBER_BITS = 20  # the other four cells check them; at 30 fps numbers repeat after 9.7 hours
_NUMBERS = 1 << _NUMBER_BITS
# The block of cells, as parts of the side of the central square.
_CELLS_LEFT, _CELLS_TOP, _CELLS_WIDTH, _CELLS_HEIGHT = 0.05, 0.04, 0.9, 0.12
_BLACK_BELOW, _WHITE_ABOVE = 90, 165  # grey in between is no cell
_CHARACTERS = "0123456789:. "
_SECONDS_PER_ROUND = 8  # the background comes around once in that time


def read_frame_number(pixels: NDArray[np.uint8]) -> int | None:
    """The frame number in a test picture, uint8 (H, W, 3), or None where there is none to be read.

    Works on the picture as made, and after it was encoded, scaled in its own shape, or scaled and
    centre-cropped to a square.
    """
    bits = 0
    for top, bottom, left, right in _cells(pixels.shape[1], pixels.shape[0]):
        inset_y, inset_x = (bottom - top) // 4, (right - left) // 4
        brightness = pixels[top + inset_y : bottom - inset_y, left + inset_x : right - inset_x].mean()
        if _BLACK_BELOW < brightness < _WHITE_ABOVE or math.isnan(brightness):
            return None
        bits = bits << 1 | int(brightness >= _WHITE_ABOVE)
    number, check = bits >> 4, bits & 0xF
    return number if check == _check(number) else None


class TestPattern:
    """Makes the pictures of one test pattern.

    Attributes:
        width, height: in pixels.
        fps: pictures per second; the time base of the pictures is its inverse.
    """

    __test__ = False  # not a test class, whatever its name begins with

    def __init__(self, width: int, height: int, fps: Fraction = Fraction(DEFAULT_FPS)) -> None:
        self.width = width
        self.height = height
        self.fps = fps
        side = min(width, height)
        self._background = _waves(width, height)
        self._discs = [
            _Disc.of(side, 0.13, (255, 214, 130), (0.5, 0.34), (1.0, 1.0), 0.0),
            _Disc.of(side, 0.08, (255, 120, 140), (0.56, 0.26), (-1.5, 2.0), 2.1),
            _Disc.of(side, 0.05, (150, 235, 255), (0.4, 0.30), (2.5, -1.5), 4.2),
        ]
        self._glyphs = _glyphs(max(8, round(side * 0.07)))
        self._cells = _cells(width, height)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Picture `number` of the pattern: uint8 (height, width, 3), RGB."""
        time_s = float(number / self.fps)
        shift = int(time_s / _SECONDS_PER_ROUND * self.width) % self.width
        pixels: NDArray[np.uint8] = self._background[:, shift : shift + self.width].copy()
        for disc in self._discs:
            disc.draw(pixels, time_s * math.tau / _SECONDS_PER_ROUND)
        self._write(pixels, f" {number:06d}  {int(time_s // 60):02d}:{time_s % 60:05.2f} ")
        self._mark(pixels, number)
        return pixels

    def frame(self, number: int) -> RawFrame:
        """Picture `number` with its timestamp."""
        return RawFrame(self.picture(number), number, 1 / self.fps)

    def _write(self, pixels: NDArray[np.uint8], text: str) -> None:
        height, width = self._glyphs["0"].shape[:2]
        left = (self.width - width * len(text)) // 2
        top = (self.height + min(self.width, self.height)) // 2 - height * 3 // 2
        if left < 0:  # a very small or very narrow picture: the cells have to do
            return
        for character in text:
            pixels[top : top + height, left : left + width] = self._glyphs[character]
            left += width

    def _mark(self, pixels: NDArray[np.uint8], number: int) -> None:
        number %= _NUMBERS
        bits = number << 4 | _check(number)
        for place, (top, bottom, left, right) in enumerate(reversed(self._cells)):
            pixels[top:bottom, left:right] = 255 if bits >> place & 1 else 0


@dataclass(frozen=True)
class _Disc:
    """A soft disc on its way.

    Attributes:
        cover: float32 (D, D, 1), how much of the picture it hides, in [0, 1].
        light: float32 (D, D, 3), its colour times `cover`.
        reach: how far it goes from the middle, to the sides and up and down, in pixels.
        speed: its turns per round to the sides and up and down.
        phase: where it begins, in radians.
    """

    cover: NDArray[np.float32]
    light: NDArray[np.float32]
    reach: tuple[float, float]
    speed: tuple[float, float]
    phase: float

    @classmethod
    def of(
        cls,
        side: int,
        radius: float,
        colour: tuple[int, int, int],
        extent: tuple[float, float],
        speed: tuple[float, float],
        phase: float,
    ) -> _Disc:
        """`radius` and `extent` (of the way's outer edge) as parts of the central square's side."""
        pixels = max(2, round(side * radius))
        axis = np.arange(-pixels, pixels, dtype=np.float32) + 0.5
        distance = np.hypot(axis[:, None], axis[None, :])
        cover = np.clip(pixels - distance, 0, 1)[..., None] * np.float32(0.92)
        shade = 1 - 0.35 * (np.hypot(axis[:, None] + pixels / 3, axis[None, :] + pixels / 3) / pixels / 1.4)
        light = cover * np.clip(shade, 0, 1)[..., None] * np.array(colour, np.float32)
        reach = (max(0.0, side * extent[0] * 0.8 - pixels), max(0.0, side * extent[1] - pixels))
        return cls(cover.astype(np.float32), light.astype(np.float32), reach, speed, phase)

    def draw(self, pixels: NDArray[np.uint8], angle: float) -> None:
        """Draw it where it is when the round has come to `angle` (radians)."""
        height, width = pixels.shape[:2]
        size = self.cover.shape[0]
        left = int(width / 2 + self.reach[0] * math.sin(self.speed[0] * angle + self.phase) - size / 2)
        top = int(height / 2 + self.reach[1] * math.cos(self.speed[1] * angle + self.phase) - size / 2)
        left, top = max(0, min(left, width - size)), max(0, min(top, height - size))
        under = pixels[top : top + size, left : left + size]
        under[:] = (under * (1 - self.cover) + self.light).astype(np.uint8)


def _check(number: int) -> int:
    """Four bits that go with a number; so made that all black, all white and inverted cells are never valid."""
    weighted = sum((number >> 4 * digit & 0xF) * (2 * digit + 1) for digit in range(_NUMBER_BITS // 4))
    return (weighted + 9) & 0xF


def _cells(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) in pixels of every cell, first bit first."""
    side = min(width, height)
    left, top = (width - side) / 2 + side * _CELLS_LEFT, (height - side) / 2 + side * _CELLS_TOP
    columns = [round(left + side * _CELLS_WIDTH * i / _COLUMNS) for i in range(_COLUMNS + 1)]
    rows = [round(top + side * _CELLS_HEIGHT * i / _ROWS) for i in range(_ROWS + 1)]
    return [
        (rows[row], rows[row + 1], columns[column], columns[column + 1])
        for row in range(_ROWS)
        for column in range(_COLUMNS)
    ]


def _waves(width: int, height: int) -> NDArray[np.uint8]:
    """Calm colours, uint8 (height, 2 * width, 3), that repeat after `width`."""
    across = np.arange(width, dtype=np.float32)[None, :] / width
    down = np.arange(height, dtype=np.float32)[:, None] / height
    bend = across + 0.12 * np.sin(math.tau * (down * 1.3 + across))
    colours = [
        base + swing * np.cos(math.tau * (bend * turns + down * 0.35 + shift))
        for base, swing, turns, shift in ((88, 58, 1, 0.02), (92, 52, 1, 0.38), (138, 62, 2, 0.66))
    ]
    once = np.stack(colours, axis=-1).clip(0, 255).astype(np.uint8)
    return np.concatenate([once, once], axis=1)


def _glyphs(height: int) -> dict[str, NDArray[np.uint8]]:
    """Character -> its picture, uint8 (H, W, 3), light on dark, all of one size."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=height * 0.8)
    width = math.ceil(max(font.getlength(character) for character in _CHARACTERS))
    glyphs = {}
    for character in _CHARACTERS:
        image = Image.new("RGB", (width, height), (16, 18, 28))
        ImageDraw.Draw(image).text((width / 2, height / 2), character, (240, 244, 255), font, anchor="mm")
        glyphs[character] = np.asarray(image)
    return glyphs

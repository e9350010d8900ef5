"""Strips that hold rows of pictures as ready ANSI text, so that the compositor has nothing left to do.

A `Strip` renders each of its segments by its style. That is the most of the cost of video in Textual;
here the text comes ready from `preview.blocks`, and segments are made only for those who ask for them
(a dimmed screen behind a dialog, a screenshot).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from ...preview.blocks import BLOCK, Depth, encode_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AnsiStrip(Strip, ABC):
    """A strip whose rendering is given; subclasses say what a part of it and its segments are."""

    def __init__(self, ansi: str | None, cells: int) -> None:
        super().__init__((), cells)
        self._cell_count = cells
        self._ansi = ansi

    def __bool__(self) -> bool:
        return True

    @property
    def link_ids(self) -> set[str]:
        return set()

    @property
    def _segments(self) -> list[Segment]:
        return self.segments()

    @_segments.setter
    def _segments(self, segments: list[Segment]) -> None:
        """Set by the base class at the beginning of a life; made from the cells here."""

    @abstractmethod
    def segments(self) -> list[Segment]:
        """The cells as Rich segments."""

    @abstractmethod
    def part(self, start: int, end: int) -> Strip:
        """The cells from `start` up to `end`."""

    @abstractmethod
    def encode(self) -> str:
        """The cells as the text that draws them."""

    def render(self, console: Console) -> str:  # noqa: ARG002 (every console gets the same text)
        if self._ansi is None:
            self._ansi = self.encode()
        return self._ansi

    def crop(self, start: int, end: int | None = None) -> Strip:
        start = max(0, start)
        end = self.cell_length if end is None else min(self.cell_length, end)
        if (start, end) == (0, self.cell_length):
            return self
        return self.part(start, end) if end > start else Strip([], 0)

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        ends = [cut for cut in cuts if cut <= self.cell_length]
        starts = [0, *ends[:-1]]
        return [self.crop(start, end) for start, end in zip(starts, ends, strict=True)]


class BlockStrip(AnsiStrip):
    """A row of half-blocks; `upper` and `lower` are uint8 (cells, 3)."""

    def __init__(
        self, upper: NDArray[np.uint8], lower: NDArray[np.uint8], depth: Depth, ansi: str | None = None
    ) -> None:
        super().__init__(ansi, len(upper))
        self.upper = upper
        self.lower = lower
        self.depth = depth

    def encode(self) -> str:
        return encode_rows(np.stack([self.upper, self.lower]), self.depth)[0]

    def part(self, start: int, end: int) -> Strip:
        return BlockStrip(self.upper[start:end], self.lower[start:end], self.depth)

    def segments(self) -> list[Segment]:
        """Runs of equal cells, their colours to 5 bits: styles are dear, and few of them are found again."""
        from_rgb = Color.from_rgb
        segments: list[Segment] = []
        pairs = [
            (tuple(fore), tuple(back)) for fore, back in zip(_coarse(self.upper), _coarse(self.lower), strict=True)
        ]
        start = 0
        for index, pair in enumerate(pairs):
            if index + 1 == len(pairs) or pairs[index + 1] != pair:
                style = Style.from_color(from_rgb(*pair[0]), from_rgb(*pair[1]))
                segments.append(Segment(BLOCK * (index + 1 - start), style))
                start = index + 1
        return segments


class PlaceholderStrip(AnsiStrip):
    """A row of characters that stand for a row of a kitty picture; blank to everyone but the terminal."""

    def encode(self) -> str:
        return " " * self.cell_length

    def segments(self) -> list[Segment]:
        return [Segment(" " * self.cell_length)]

    def part(self, start: int, end: int) -> Strip:
        return Strip([Segment(" " * (end - start))], end - start)


def _coarse(colours: NDArray[np.uint8]) -> list[list[int]]:
    return ((colours & 0xF8) | (colours >> 5)).tolist()  # type: ignore[no-any-return]

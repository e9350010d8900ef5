"""Kitty and sixel pictures over a widget's region: the sequences to draw them and to take them away.

They are written to the terminal beside Textual's own updates, between saving and restoring the cursor,
so neither knows of the other. Whoever uses this makes sure that nothing covers the region.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from textual.geometry import Region

from ...preview import kitty, sixel
from ...preview.scale import fit, nearest
from ...preview.terminal import DrawMode, Terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # drawn at once by terminals that can, ignored by others
_KITTY_PIXELS = 512 * 512  # more of them cost time on the way and are hardly seen
_numbers = itertools.count(0)


class Graphics:
    """Draws newest pictures of one widget.

    Attributes:
        images: the two kitty image numbers taken in turn, so that the old picture goes only after the new
            one came. At most 255, the largest number that a palette colour can say.
    """

    def __init__(self, mode: DrawMode, terminal: Terminal) -> None:
        self.mode = mode
        self.terminal = terminal
        first = 101 + 2 * (next(_numbers) % 50)
        self.images = (first, first + 1)
        self._shown: int | None = None

    @property
    def by_placeholder(self) -> bool:
        """Whether the widget itself has to show placeholder characters."""
        return self.mode == "kitty" and self.terminal.kitty == "tmux"

    def place(self, width: int, height: int, columns: int, rows: int) -> Region:
        """Cells that a picture of `width` x `height` takes in a region of `columns` x `rows` cells."""
        aspect = self.terminal.cell_aspect
        fitted = fit(width, height, columns, rows * 2, aspect)
        picture_columns, picture_rows = fitted[0], max(1, -(-fitted[1] // 2))
        return Region((columns - picture_columns) // 2, (rows - picture_rows) // 2, picture_columns, picture_rows)

    def draw(self, pixels: NDArray[np.uint8], region: Region) -> str:
        """Sequences that show a picture on `region`, cells of the screen."""
        picture = self._reduced(pixels, region)
        if self.mode == "sixel":
            body = sixel.encode(picture).decode("ascii")
        else:
            body = self._kitty(picture, region)
            if self.by_placeholder:
                return body
        return f"{_BEGIN}{_SAVE}\x1b[{region.y + 1};{region.x + 1}H{body}{_RESTORE}{_END}"

    def erase(self) -> str:
        """Sequences that take the picture away; sixel pictures go by being written over."""
        if self._shown is None:
            return ""
        text = kitty.deleted(self._shown)
        self._shown = None
        return kitty.passed_through(text) if self.by_placeholder else text

    def placeholders(self, region: Region) -> list[str]:
        """Rows of text to show at `region`'s cells, through tmux."""
        return kitty.placeholder_rows(self.images[0], region.width, region.height)

    def _kitty(self, picture: NDArray[np.uint8], region: Region) -> str:
        by_file = self.terminal.kitty_by_file
        if self.by_placeholder:
            self._shown = self.images[0]
            return kitty.virtual(picture, self._shown, region.width, region.height, by_file=by_file)
        older = self._shown
        self._shown = self.images[1] if older == self.images[0] else self.images[0]
        text = kitty.placed(picture, self._shown, region.width, region.height, by_file=by_file)
        return text + (kitty.deleted(older) if older is not None else "")

    def _reduced(self, pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
        """The picture at the size it is sent in: never above the region's own pixels or the limit."""
        height, width = pixels.shape[:2]
        box_width = region.width * (self.terminal.cell_width or 10)
        box_height = region.height * (self.terminal.cell_height or 20)
        target_width, target_height = fit(width, height, box_width, box_height)
        if self.mode == "kitty" and target_width * target_height > width * height:
            target_width, target_height = width, height
        excess = (target_width * target_height / _KITTY_PIXELS) ** 0.5
        if excess > 1 and self.mode == "kitty":
            target_width, target_height = round(target_width / excess), round(target_height / excess)
        return nearest(pixels, max(1, target_width), max(1, target_height))

"""PictureView: the newest picture of one side of the pipeline, in whatever way the terminal can show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from runner.live.plain_json import visible

from ...preview import blocks, ramp
from ...preview.blocks import Depth
from ...preview.scale import fit, mean_colour, resize
from ...preview.terminal import DrawMode, Terminal
from ..cells import padded
from .graphics import Graphics
from .picture_strip import BlockStrip, PlaceholderStrip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runner.live.trickle.frame import RawFrame


class PictureView(Widget):
    """Draws frames as half-blocks or characters through the compositor, as kitty or sixel pictures beside it.

    While something lies over a kitty or sixel picture (a dialog, a message), half-blocks take its place,
    because they can be covered.

    Attributes:
        mode: how to draw. depth: colours of half-blocks. message: lines shown while there is no frame.
    """

    DEFAULT_CSS = """
    PictureView { background: $picture; color: $foreground 60%; }
    """
    ALLOW_SELECT = False

    def __init__(self, terminal: Terminal, mode: DrawMode, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.terminal = terminal
        self.mode: DrawMode = mode
        self.depth: Depth = terminal.depth
        self.message: tuple[str, ...] = ()
        self.frame: RawFrame | None = None
        self._graphics = Graphics(mode, terminal)
        self._strips: list[Strip] = []
        self._ansi: list[str] = []
        self._covered = False
        self._wiped = True

    def show(self, frame: RawFrame) -> None:
        """Draw a frame; it is kept to be drawn again at another size."""
        first = self.frame is None
        self.frame = frame
        if first:
            self._forget()
        self._draw()

    def clear(self, *message: str) -> None:
        """Show no picture but `message`."""
        if self.frame is None and message == self.message:
            return
        self.message = message
        self.frame = None
        self._send(self._graphics.erase())
        self._forget()

    def set_mode(self, mode: DrawMode, depth: Depth) -> None:
        """Draw in another way from now on."""
        if (mode, depth) == (self.mode, self.depth):
            return
        if mode != self.mode:
            self._send(self._graphics.erase())
            self._graphics = Graphics(mode, self.terminal)
        self.mode, self.depth = mode, depth
        self._forget()

    @property
    def drawn_mode(self) -> DrawMode:
        """How it is drawn at this moment."""
        return "blocks" if self._covered and self.mode in ("kitty", "sixel") else self.mode

    def on_resize(self) -> None:
        self._send(self._graphics.erase())
        self._forget()

    def on_unmount(self) -> None:
        self._send(self._graphics.erase())

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._forget()

    def after_display(self) -> None:
        """Textual has updated the screen: notice what covers the picture, and put back what was written over."""
        if self.mode not in ("kitty", "sixel") or self.frame is None:
            return
        covered = self._is_covered()
        if covered != self._covered:
            self._covered = covered
            self._send(self._graphics.erase())
            self._forget()
        elif not covered and self._wiped and self._strips:
            self._draw_graphics()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Ready strips of the content; there is no border and no padding to draw around them."""
        if len(self._strips) != self.size.height:
            self._compose_strips()
        self._wiped = True
        strips = self._strips[crop.y : crop.bottom]
        if crop.column_span != (0, self.size.width):
            return [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def _forget(self) -> None:
        self._strips, self._ansi = [], []
        self.refresh()

    def _draw(self) -> None:
        if self.drawn_mode in ("kitty", "sixel"):
            if not self._strips or self._graphics.by_placeholder:
                self.refresh()
            self._draw_graphics()
            return
        before = self._ansi
        self._compose_strips()
        if len(before) != len(self._ansi):
            self.refresh()
            return
        changed = [row for row, (old, new) in enumerate(zip(before, self._ansi, strict=True)) if old != new]
        if changed:
            self.refresh(*_bands(changed, self.size.width))

    def _compose_strips(self) -> None:
        width, height = self.size
        if self.frame is None:
            self._strips = self._message_strips(width, height)
            self._ansi = []
        elif self.drawn_mode == "blocks":
            self._strips = self._block_strips(self.frame.pixels, width, height)
        elif self.drawn_mode == "text":
            self._strips = self._text_strips(self.frame, width, height)
        else:
            self._strips = self._graphics_strips(self.frame.pixels, width, height)

    def _block_strips(self, pixels: NDArray[np.uint8], width: int, height: int) -> list[Strip]:
        canvas = np.empty((height * 2, width, 3), np.uint8)
        canvas[:] = self.background_colors[1].rgb
        picture_height, picture_width = pixels.shape[:2]
        columns, lines = fit(picture_width, picture_height, width, height * 2, self.terminal.cell_aspect)
        left, top = (width - columns) // 2, (height * 2 - lines) // 2
        canvas[top : top + lines, left : left + columns] = resize(pixels, columns, lines)
        self._ansi = blocks.encode_rows(canvas, self.depth)
        return [
            BlockStrip(canvas[2 * row], canvas[2 * row + 1], self.depth, ansi) for row, ansi in enumerate(self._ansi)
        ]

    def _text_strips(self, frame: RawFrame, width: int, height: int) -> list[Strip]:
        """An ASCII picture, and below it what a picture would have said."""
        picture_height, picture_width = frame.pixels.shape[:2]
        caption = f"{picture_width}x{picture_height}  frame {frame.seq}  mean #{bytes(mean_colour(frame.pixels)).hex()}"
        rows = max(1, height - 1)
        columns, lines = fit(picture_width, picture_height, width, rows, self.terminal.cell_aspect / 2)
        text = [row.center(width) for row in ramp.encode_rows(resize(frame.pixels, columns, lines))]
        text = [" " * width] * ((rows - lines) // 2) + text
        text = (text + [" " * width] * rows)[:rows] + [caption[:width].center(width)] * (height > 1)
        self._ansi = text
        style = self.rich_style
        return [Strip([Segment(row, style)], width) for row in text]

    def _graphics_strips(self, pixels: NDArray[np.uint8], width: int, height: int) -> list[Strip]:
        """What lies under a kitty or sixel picture: empty cells, or placeholders."""
        blank = Strip([Segment(" " * width, self.rich_style)], width)
        strips: list[Strip] = [blank] * height
        if self._graphics.by_placeholder:
            region = self._graphics.place(pixels.shape[1], pixels.shape[0], width, height)
            for row, text in enumerate(self._graphics.placeholders(region)):
                padded = " " * region.x + text + " " * (width - region.right)
                strips[region.y + row] = PlaceholderStrip(padded, width)
        return strips

    def _message_strips(self, width: int, height: int) -> list[Strip]:
        style = self.rich_style
        top = (height - len(self.message)) // 2
        lines = {top + index: line for index, line in enumerate(self.message)}
        blank = Segment(" ", style)
        return [
            Strip(padded([Segment(_centred(lines.get(row, ""), width), style)], width, blank), width)
            for row in range(height)
        ]

    def _draw_graphics(self) -> None:
        if self.frame is None or self._is_covered() or not self.size:
            return
        pixels = self.frame.pixels
        region = self._graphics.place(pixels.shape[1], pixels.shape[0], *self.size).translate(self.region.offset)
        self._send(self._graphics.draw(pixels, region))
        self._wiped = False

    def _is_covered(self) -> bool:
        """Whether another screen, or another widget of this one, lies over this widget or cuts it off."""
        screen = self.screen
        if self.app.screen is not screen or not screen.region.contains_region(self.region):
            return True
        own = {self, *self.ancestors}
        visible = screen._compositor.visible_widgets  # the one place that knows what is drawn where
        return any(region.overlaps(self.region) for widget, (region, _) in visible.items() if widget not in own)

    def _send(self, sequences: str) -> None:
        driver = self.app._driver
        if sequences and driver is not None and not self.app.is_headless:
            driver.write(sequences)


def _bands(rows: list[int], width: int) -> list[Region]:
    """Regions of whole rows, neighbours joined."""
    regions: list[Region] = []
    start = previous = rows[0]
    for row in [*rows[1:], -1]:
        if row != previous + 1:
            regions.append(Region(0, start, width, previous + 1 - start))
            start = row
        previous = row
    return regions


def _centred(text: str, width: int) -> str:
    """As much of a text from outside as fits, with the blanks to its left."""
    text = set_cell_size(visible(text), width).rstrip()
    return " " * ((width - cell_len(text)) // 2) + text

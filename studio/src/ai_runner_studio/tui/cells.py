"""Text in cells of a terminal: what may not be sent to it, and where a line is wrapped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len, get_character_cell_size, split_graphemes
from rich.segment import Segment
from textual.expand_tabs import expand_tabs_inline
from textual.filter import LineFilter

from runner.live.plain_json import visible

if TYPE_CHECKING:
    from textual.color import Color

TAB_CELLS = 4


class ControlFilter(LineFilter):
    """The last guard before the terminal: no widget's text carries a control character, whatever it was given."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        del background
        shown = [s if s.control else Segment(visible(s.text), s.style) for s in segments]
        if all(new.text == old.text for new, old in zip(shown, segments, strict=True)):
            return segments
        # The line keeps its width, for what stands to the right of it: here that is worth more than its end.
        return Segment.adjust_line_length(shown, Segment.get_line_length(segments))


def lines_of(text: str) -> list[str]:
    """The lines of a text from outside, ready to be shown: control characters visible, tabs as spaces."""
    lines = visible(text).split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    return [expand_tabs_inline(line, TAB_CELLS) if "\t" in line else line for line in lines]


def wrap(line: str, width: int) -> list[str]:
    """Cut a line into rows of at most `width` cells, at least one row; what belongs to one character stays together."""
    if line.isascii():
        return [line[start : start + width] for start in range(0, max(1, len(line)), width)]
    rows: list[str] = []
    start = used = 0
    for begin, end, _ in split_graphemes(line)[0]:
        cells = most_cells(line[begin:end])
        if used and used + cells > width:
            rows.append(line[start:begin])
            start, used = begin, 0
        used += cells
    return [*rows, line[start:]]


def most_cells(text: str) -> int:
    """Cells that `text` takes at most: terminals differ about joined emoji, and some draw each part of one."""
    if text.isascii():
        return len(text)
    return max(cell_len(text), sum(map(get_character_cell_size, text)))


def padded(segments: Iterable[Segment], width: int, filler: Segment) -> list[Segment]:
    """The segments and as much filler as leaves no terminal with more than `width` cells."""
    row = list(segments)
    left = width - sum(most_cells(segment.text) for segment in row)
    return [*row, Segment(filler.text * max(0, left), filler.style)]

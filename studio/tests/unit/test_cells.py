"""Text in cells: where lines are wrapped, and what does not get to the terminal."""

from __future__ import annotations

import pytest
from rich.segment import Segment
from textual.color import Color

from ai_runner_studio.tui.cells import ControlFilter, lines_of, most_cells, wrap

FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    "line",
    ["", "a" * 25, "漢字" * 20, "e\u0301" * 30, FAMILY * 5, "❤\ufe0f" * 12, "🇩🇪" * 8, "שלום עולם " * 4, "\u200d\u0301"],
)
def test_wrapping_loses_nothing_and_fits_any_terminal(line: str) -> None:
    rows = wrap(line, 10)
    assert "".join(rows) == line
    assert all(most_cells(row) <= 10 for row in rows)


def test_parts_of_a_character_stay_together() -> None:
    assert wrap("aaaaaae\u0301b", 7) == ["aaaaaae\u0301", "b"]
    assert wrap(FAMILY * 2, 7) == [FAMILY, FAMILY]


def test_lines_of_a_text() -> None:
    assert lines_of("a\tb\r\n\x1b[2J\n") == ["a   b", "\\x1b[2J"]
    assert lines_of("") == [""]
    assert lines_of("漢\tb") == ["漢  b"]


def test_the_filter_keeps_the_width_of_a_line() -> None:
    line = [Segment("ab\x1bc  "), Segment("|")]
    filtered = ControlFilter().apply(line, Color(0, 0, 0))
    assert "".join(segment.text for segment in filtered) == "ab\\x1b"
    assert Segment.get_line_length(filtered) == Segment.get_line_length(line)


def test_the_filter_leaves_readable_lines_alone() -> None:
    line = [Segment("漢字 e\u0301")]
    assert ControlFilter().apply(line, Color(0, 0, 0)) is line

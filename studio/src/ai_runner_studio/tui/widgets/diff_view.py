"""DiffView: the lines of a unified diff in colours, long ones wrapped; only the visible ones are drawn."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from ..cells import lines_of, wrap

_KINDS = {"+": "diff--added", "-": "diff--removed", "@": "diff--hunk"}


class DiffView(ScrollView, can_focus=True):
    """Scrolls by keys and wheel."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"diff--added", "diff--removed", "diff--hunk"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_home", "Top", show=False),
        Binding("end", "scroll_end", "Bottom", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="diff")
        self._lines: tuple[str, ...] = ()
        self._rows: list[tuple[str, str]] = []  # component class, text
        self._wrapped_at = 0

    @property
    def text(self) -> str:
        """All rows, without colours."""
        return "\n".join(text for _, text in self._rows)

    def show(self, lines: tuple[str, ...]) -> None:
        """Show the lines of one file's diff, from their beginning."""
        self._lines = without_names(lines)
        self._wrap()
        self.scroll_home(animate=False, immediate=True)

    def on_resize(self) -> None:
        if self._wrapped_at != self.scrollable_content_region.width:
            self._wrap()

    def _wrap(self) -> None:
        width = self._wrapped_at = self.scrollable_content_region.width
        self._rows = []
        for line in self._lines:
            kind = _KINDS.get(line[:1], "")
            text = "".join(lines_of(line.rstrip("\n")))
            # What goes on in the next row stands below the code, not below the sign before it.
            first, *rest = wrap(text[1:], max(8, width - 1))
            self._rows += [(kind, text[:1] + first), *((kind, f" {part}") for part in rest)]
        self.virtual_size = Size(width, len(self._rows))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        kind, text = self._rows[row] if row < len(self._rows) else ("", "")
        style = self.get_visual_style(kind) if kind else self.visual_style
        return Visual.to_strips(self, Content(text), self.size.width, 1, style, pad=True)[0]


def without_names(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A unified diff without the two lines above it that name the files."""
    named = len(lines) > 1 and lines[0].startswith("---") and lines[1].startswith("+++")
    return lines[2:] if named else lines

"""TabRow: one line that names the panes below it, and chooses which of them share one column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


@dataclass(frozen=True, slots=True)
class Tab:
    """A pane's name in the row.

    Attributes:
        badge: a short count or mark after the name. style: of the badge.
    """

    pane: str
    title: str
    badge: str = ""
    style: str = "$foreground 60%"


@dataclass(frozen=True, slots=True)
class Column:
    """Tabs above one column of panes, `width` cells wide; one tab alone is a mere title."""

    width: int
    tabs: tuple[Tab, ...]


class TabRow(Widget, can_focus=True):
    """Draws columns of tabs; a click or an arrow key chooses one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Previous pane", show=False),
        Binding("right", "move(1)", "Next pane", show=False),
    ]
    ALLOW_SELECT = False

    @dataclass
    class Chosen(Message):
        """The user wants to see this pane."""

        pane: str

    def __init__(self) -> None:
        super().__init__(id="tab-row")
        self.columns: tuple[Column, ...] = ()
        self.active = ""
        self._places: list[tuple[int, int, str]] = []

    def set(self, columns: tuple[Column, ...], active: str) -> None:
        """Show these columns; `active` is the pane that is visible among those that share one."""
        if (columns, active) != (self.columns, self.active):
            self.columns, self.active = columns, active
            self.refresh()

    def action_move(self, step: int) -> None:
        """Choose the next or previous pane of those that share a column."""
        panes = [tab.pane for column in self.columns if len(column.tabs) > 1 for tab in column.tabs]
        if panes:
            position = panes.index(self.active) if self.active in panes else 0
            self.post_message(self.Chosen(panes[(position + step) % len(panes)]))

    def on_click(self, event: events.Click) -> None:
        for start, end, pane in self._places:
            if start <= event.x < end:
                self.post_message(self.Chosen(pane))

    def render(self) -> Content:
        self._places = []
        line = Content()
        x = 0
        for column in self.columns:
            part = Content(" ")
            for tab in column.tabs:
                text = self._tab(tab, alone=len(column.tabs) == 1)
                self._places.append((x + part.cell_length, x + part.cell_length + text.cell_length, tab.pane))
                part = Content.assemble(part, text, "  ")
            part = part.truncate(column.width, ellipsis=True, pad=True)
            line = Content.assemble(line, part)
            x += column.width
        return line

    def _tab(self, tab: Tab, *, alone: bool) -> Content:
        active = tab.pane == self.active or alone
        name = "bold $foreground" if active else "$foreground 60%"
        if active and not alone:
            name = "bold underline $primary" if not self.has_focus else "bold reverse $primary"
        text = Content.styled(tab.title, name)
        return Content.assemble(text, (f" {tab.badge}", tab.style)) if tab.badge else text

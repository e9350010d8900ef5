"""Splitters: lines between panes that the mouse can drag."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widget import Widget


@dataclass
class SplitterDragged(Message):
    """A splitter is being dragged; `x` and `y` are where the mouse is, in cells of the screen."""

    splitter: Widget
    x: int
    y: int

    @property
    def control(self) -> Widget:
        return self.splitter


class Draggable(Widget):
    """Mixin of a widget that reports drags over the whole screen."""

    ALLOW_SELECT = False

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self.capture_mouse()
            self.add_class("-dragging")
            event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self.post_message(SplitterDragged(self, int(event.screen_x), int(event.screen_y)))

    def on_mouse_up(self) -> None:
        self.release_mouse()
        self.remove_class("-dragging")


class ColumnSplitter(Draggable):
    """A line one cell wide between two columns."""

    DEFAULT_CSS = """
    ColumnSplitter { width: 1; height: 1fr; color: $foreground 15%; pointer: ew-resize; }
    ColumnSplitter:hover, ColumnSplitter.-dragging { color: $primary; }
    """

    def render(self) -> str:
        return "\n".join(["│"] * self.size.height)

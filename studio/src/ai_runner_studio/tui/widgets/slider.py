"""Slider: a number between two ends, moved with the mouse. Keys belong to the input beside it."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class Slider(Widget):
    """A line with a knob; `share` is its place, 0 to 1."""

    DEFAULT_CSS = """
    Slider { height: 1; width: 1fr; min-width: 6; pointer: pointer; }
    """
    ALLOW_SELECT = False

    @dataclass
    class Moved(Message):
        """The knob was put at `share` of the way (0-1) by the user."""

        slider: Slider
        share: float

        @property
        def control(self) -> Slider:
            return self.slider

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        self.share = share

    def place(self, share: float) -> None:
        """Put the knob somewhere without telling anyone."""
        share = max(0.0, min(1.0, share))
        if share != self.share:
            self.share = share
            self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        knob = round(self.share * (width - 1))
        return Content.assemble(
            ("━" * knob, "$primary"), ("●", "$primary"), ("─" * (width - 1 - knob), "$foreground 25%")
        )

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self.capture_mouse()
            self._move(event.x)
            event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._move(event.x)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def _move(self, x: float) -> None:
        before = self.share
        self.place(x / max(1, self.content_size.width - 1))
        if self.share != before:
            self.post_message(self.Moved(self, self.share))

"""What stands in for the studio while the terminal is too small to show anything of use."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Middle
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

LEAST_WIDTH, LEAST_HEIGHT = 60, 16


class TooSmall(ModalScreen[None]):
    """Goes away by itself when the terminal grows."""

    def compose(self) -> ComposeResult:
        with Middle():
            yield Static(id="too-small")

    def on_mount(self) -> None:
        self.on_resize()

    def on_resize(self) -> None:
        size = self.app.size
        lines = (
            f"The studio needs {LEAST_WIDTH}×{LEAST_HEIGHT} cells,",
            f"this terminal has {size.width}×{size.height}.",
            "Make it larger, or press q to quit.",
        )
        self.query_one("#too-small", Static).update(Content("\n").join(Content(line) for line in lines))

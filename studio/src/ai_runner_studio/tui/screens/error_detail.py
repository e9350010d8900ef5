"""The error screen: the whole report, with the traceback as Python prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from runner.live.plain_json import visible

from ..widgets.error import ErrorStory

if TYPE_CHECKING:
    from runner.live.report import ErrorReport

    from ...snapshot import Snapshot


class ErrorDetail(Screen[None]):
    """Scrolls; the report can be copied whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e", "dismiss", "Back", key_display="esc"),
        Binding("c", "copy", "Copy"),
    ]
    AUTO_FOCUS = "#error-detail"

    def __init__(self, report: ErrorReport, snapshot: Snapshot) -> None:
        super().__init__()
        self._report = report
        self._snapshot = snapshot
        self._story = ErrorStory()

    def on_mount(self) -> None:
        self._story.tell(self._report, self._snapshot)

    def compose(self) -> ComposeResult:
        report = self._report
        with VerticalScroll(id="error-detail"):
            yield self._story
            yield Static("Traceback", classes="dialog-title")
            yield Static(Content(visible(report.traceback.rstrip()) or "There is none."), id="traceback")
        yield Footer(show_command_palette=False, compact=True)

    def action_copy(self) -> None:
        """Put headline and traceback on the clipboard, by way of the terminal."""
        self.app.copy_to_clipboard(f"{self._report.headline}\n\n{self._report.traceback}")
        self.notify("Copied", timeout=2)

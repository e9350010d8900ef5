"""LogPane: what the pipeline process says, by level and text, following the newest line unless scrolled back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input, Static

from .. import figures
from ..cells import lines_of, padded, wrap

if TYPE_CHECKING:
    from runner.live.events import LogWritten

    from ...snapshot import Snapshot

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_RANK = {"DEBUG": 0, "INFO": 1, "WARNING": 2, "ERROR": 3, "CRITICAL": 3}
_HEAD = 11  # "12:34:56 W "


class LogLines(ScrollView, can_focus=True):
    """The lines themselves, wrapped; only the visible ones are ever turned into strips."""

    class Scrolled(Message):
        """The user scrolled, away from the end or back to it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--time", "log--warning", "log--error", "log--debug"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_home", "Oldest", show=False),
        Binding("end", "scroll_end", "Newest", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="log-lines")
        self.records: list[LogWritten] = []
        self.following = True
        self.empty_text = ""
        self._rows: list[tuple[LogWritten, str, bool]] = []
        self._wrapped_at = 0

    def show(self, records: list[LogWritten]) -> None:
        """Show these records; the end stays in view if it was."""
        kept = len(self.records)
        grown = (
            kept and len(records) >= kept and records[0] is self.records[0] and records[kept - 1] is self.records[-1]
        )
        new = records[kept:] if grown else records
        if not grown:
            self._rows = []
        self.records = records
        self._wrap(new)

    def on_resize(self) -> None:
        if self._wrapped_at != self._text_width:
            self._rows = []
            self._wrap(self.records)
        elif self.following:
            self._to_end()

    @property
    def _text_width(self) -> int:
        return max(10, self.scrollable_content_region.width - _HEAD)

    def _wrap(self, records: list[LogWritten]) -> None:
        width = self._wrapped_at = self._text_width
        for record in records:
            first = True
            for line in lines_of(record.message):
                for text in wrap(line, width):
                    self._rows.append((record, text, first))
                    first = False
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows))
        if self.following:
            self.call_after_refresh(self._to_end)
        self.refresh()

    def _to_end(self) -> None:
        """Bring the newest line into view, now that the size of all is known."""
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value < self.max_scroll_y:
            self.following = False
            self.post_message(self.Scrolled())
        elif new_value >= self.max_scroll_y and not self.following:
            self.following = True
            self.post_message(self.Scrolled())

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        row = y + self.scroll_offset.y
        base = self.rich_style
        if row >= len(self._rows):
            text = "" if self._rows or row else self.empty_text
            return Strip(
                [Segment(text, base + self.get_component_rich_style("log--time", partial=True))]
            ).adjust_cell_length(width, base)
        record, text, first = self._rows[row]
        head = time.strftime("%H:%M:%S ", time.localtime(record.at)) if first else " " * 9
        mark = f"{record.level[:1]} " if first else "  "
        style = self._style(record.level)
        segments = [
            Segment(head, base + self.get_component_rich_style("log--time", partial=True)),
            Segment(mark, base + style + Style(bold=True)),
            Segment(text, base + style),
        ]
        return Strip(padded(segments, width, Segment(" ", base)), width)

    def _style(self, level: str) -> Style:
        names = {"DEBUG": "log--debug", "WARNING": "log--warning", "ERROR": "log--error", "CRITICAL": "log--error"}
        name = names.get(level)
        return self.get_component_rich_style(name, partial=True) if name else Style.null()


class LogPane(Vertical):
    """A line of tools and the log lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "level", "Level"),
        Binding("f", "follow", "Follow"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "leave", "Leave log", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="log", classes="pane")
        self.level = "DEBUG"
        self.lines = LogLines()
        self._filter = Input(placeholder="filter  /", compact=True, id="log-filter")
        self._level = Static(id="log-level")
        self._count = Static(id="log-count")
        self._logs: tuple[LogWritten, ...] = ()

    def compose(self) -> ComposeResult:
        with Horizontal(id="log-tools"):
            yield self._level
            yield self._filter
            yield self._count
        yield self.lines

    def on_mount(self) -> None:
        self._show_tools()

    def show_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.logs is not self._logs:
            self._logs = snapshot.logs
            self._refill()

    def action_level(self) -> None:
        """Go on to the next level: all, info, warnings, errors."""
        self.level = LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)]
        self._refill()

    def action_follow(self) -> None:
        """Keep the newest line in view, or stop doing so."""
        self.lines.following = not self.lines.following
        if self.lines.following:
            self.lines.scroll_end(animate=False)
        self._show_tools()

    def action_filter(self) -> None:
        self._filter.focus()

    def action_leave(self) -> None:
        if self._filter.has_focus:
            self.lines.focus()
        else:
            self.screen.set_focus(None)

    @on(Input.Changed, "#log-filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._refill()

    @on(Input.Submitted, "#log-filter")
    def _filter_done(self, event: Input.Submitted) -> None:
        event.stop()
        self.lines.focus()

    @on(LogLines.Scrolled)
    def _scrolled(self, event: LogLines.Scrolled) -> None:
        event.stop()
        self._show_tools()

    @on(events.Click, "#log-level")
    def _level_clicked(self) -> None:
        self.action_level()

    @on(events.Click, "#log-count")
    def _count_clicked(self) -> None:
        self.action_follow()

    def _refill(self) -> None:
        text = self._filter.value.lower()
        lowest = LEVELS.index(self.level)
        self.lines.empty_text = "No line matches." if self._logs else "The pipeline has said nothing yet."
        self.lines.show(
            [
                record
                for record in self._logs
                if _RANK.get(record.level, 1) >= lowest
                and (not text or text in record.message.lower() or text in record.source.lower())
            ]
        )
        self._show_tools()

    def _show_tools(self) -> None:
        shown, total = len(self.lines.records), len(self._logs)
        name = {"DEBUG": "all levels", "INFO": "info and up", "WARNING": "warnings", "ERROR": "errors only"}[self.level]
        self._level.update(Content.assemble(name, (" ▾", "$foreground 60%")), layout=False)
        counted = figures.count(total, "line") if shown == total else f"{shown:,} of {total:,}"
        following = ("● following", "$text-success") if self.lines.following else ("○ follow", "$foreground 60%")
        self._count.update(Content.assemble((counted, "$foreground 60%"), "  ", following), layout=False)

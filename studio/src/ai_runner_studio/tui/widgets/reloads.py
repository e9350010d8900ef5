"""ReloadsPane: every load of the pipeline, newest first; one of them can be looked at and gone back to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from .load_entry import LoadEntry

if TYPE_CHECKING:
    from ...snapshot import Load, Snapshot

_NOTHING = Content.styled("Nothing was loaded yet.", "$foreground 60%")


class ReloadsPane(ScrollView, can_focus=True):
    """The history of loads; without the keyboard it is only read, and the newest stays in view.

    Attributes:
        selected: revision that keys apply to. The newest, until the user chooses one, which then stays when newer
            ones come. None until the first visit.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"reloads--selected"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "show_differences", "Its diff", tooltip="What this revision changed, or what is on disk now"),
        Binding("b", "return", "Back to it", tooltip="Load the code of this revision again"),
        Binding("up", "move(-1)", "Newer", show=False),
        Binding("down", "move(1)", "Older", show=False),
        Binding("home", "jump(0)", "Newest", show=False),
        Binding("end", "jump(-1)", "Oldest", show=False),
        Binding("pageup", "page(-1)", "A page newer", show=False),
        Binding("pagedown", "page(1)", "A page older", show=False),
        Binding("escape", "leave", "Leave", show=False),
    ]
    ALLOW_SELECT = False
    FOCUS_ON_CLICK = False  # what was clicked must not scroll away before it is known

    @dataclass
    class DifferencesAsked(Message):
        """The user wants to see what is different in this revision."""

        revision: int

    @dataclass
    class GoBackAsked(Message):
        """The user wants this revision's code to run again."""

        revision: int

    def __init__(self) -> None:
        super().__init__(id="reloads", classes="pane")
        self.selected: int | None = None
        self._chosen = False  # by the user
        self._loads: tuple[Load, ...] = ()
        self._rows: list[tuple[int, Content]] = []  # revision, line
        self._starts: list[int] = []  # first row of each entry, and the row after the last
        self._laid_out_for = 0
        self._lines: dict[int, tuple[Load, list[Content]]] = {}  # of loads as they were, for this width

    @property
    def text(self) -> str:
        """All lines, without colours."""
        return "\n".join(line.plain for _, line in self._rows)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show these loads; what is in view stays there."""
        if snapshot.loads == self._loads:
            return
        before = self._row_of(self.selected) - self.scroll_offset.y
        self._loads = snapshot.loads
        self._keep_selected()
        self._lay_out()
        if self.has_focus and self._chosen and self.scroll_offset.y:
            self._scroll(self._row_of(self.selected) - before)
        elif self.has_focus:
            self._reveal()

    def on_resize(self) -> None:
        if self._laid_out_for != self.scrollable_content_region.width:
            self._lay_out()
            self._reveal()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._keep_selected()
        self._reveal()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        known = self._lines if width == self._laid_out_for else {}
        self._laid_out_for, self._lines = width, {}
        self._rows, self._starts = [], [0]
        for load in reversed(self._loads):
            before, lines = known.get(load.revision, (None, []))
            if before is not load:
                lines = LoadEntry(load).lines(max(20, width - 2))
            self._lines[load.revision] = load, lines
            self._rows += [(load.revision, line) for line in lines]
            self._starts.append(len(self._rows))
        self.virtual_size = Size(width, len(self._rows))
        self.refresh()

    # ---- selection -------------------------------------------------------------------------

    def _keep_selected(self) -> None:
        """What the user has chosen, as long as it is there; else the newest, once there is a need for one."""
        self._chosen = self._chosen and any(load.revision == self.selected for load in self._loads)
        if not self._chosen:
            wanted = self.has_focus or self.selected is not None
            self.selected = self._loads[-1].revision if self._loads and wanted else None

    def _index(self) -> int:
        """Place of the selected entry, from the newest."""
        revisions = [load.revision for load in reversed(self._loads)]
        return revisions.index(self.selected) if self.selected in revisions else 0

    def _row_of(self, revision: int | None) -> int:
        return next((row for row, (of, _) in enumerate(self._rows) if of == revision), 0)

    def _select(self, index: int) -> None:
        if self._loads:
            self.selected = self._loads[-1 - max(0, min(len(self._loads) - 1, index))].revision
            self._chosen = True
            self.refresh()
            self._reveal()

    def _reveal(self) -> None:
        """Scroll as little as shows the selected entry, its first line at least."""
        if not self._rows or not self.has_focus:
            return
        index, height = self._index(), self.scrollable_content_region.height
        start, end = self._starts[index], self._starts[index + 1]
        self.scroll_to_region(Region(0, start, 1, max(1, min(end - start, height))), animate=False, immediate=True)

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=max(0, y), animate=False, immediate=True)

    def action_move(self, step: int) -> None:
        self._select(self._index() + step)

    def action_jump(self, index: int) -> None:
        self._select(index if index >= 0 else len(self._loads) - 1)

    def action_page(self, direction: int) -> None:
        """To the entry a page further, by at least one."""
        row = self._starts[self._index()] + direction * self.scrollable_content_region.height
        index = self._entry_at(max(0, min(len(self._rows) - 1, row)))
        self._select(index if index != self._index() else index + direction)

    def _entry_at(self, row: int) -> int:
        spans = enumerate(pairwise(self._starts))
        return next((index for index, (start, end) in spans if start <= row < end), 0)

    def on_click(self, event: events.Click) -> None:
        """One click selects, two show the differences."""
        row = event.y + self.scroll_offset.y
        if row < len(self._rows):
            self._select(self._entry_at(row))
            self.focus(scroll_visible=False)
            if event.chain == 2:
                self.action_show_differences()

    def action_show_differences(self) -> None:
        if self.selected is not None:
            self.post_message(self.DifferencesAsked(self.selected))

    def action_return(self) -> None:
        if self.selected is not None:
            self.post_message(self.GoBackAsked(self.selected))

    def action_leave(self) -> None:
        self.screen.set_focus(None)

    # ---- drawing ---------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        width = self.size.width
        if row >= len(self._rows):
            line = _NOTHING if not self._rows and row == 0 else Content()
            return self._strip(Content.assemble(" ", line), width)
        revision, line = self._rows[row]
        if not self.has_focus or revision != self.selected:
            return self._strip(Content.assemble(" ", line), width)
        return self._strip(Content.assemble(("▌", "$primary"), line), width, "reloads--selected")

    def _strip(self, line: Content, width: int, *component: str) -> Strip:
        style = self.get_visual_style(*component) if component else self.visual_style
        return Visual.to_strips(self, line, width, 1, style, pad=True)[0]

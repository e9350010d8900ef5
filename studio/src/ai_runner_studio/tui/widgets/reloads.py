"""ReloadsPane: every load of the pipeline, newest first, with what each step took."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from .. import figures

if TYPE_CHECKING:
    from ...snapshot import Load, Snapshot

_MARKS = {
    "loading": ("●", "$text-warning"),
    "serving": ("✓", "$text-success"),
    "replaced": ("✓", "$foreground 60%"),
    "failed": ("✗", "$text-error"),
    "superseded": ("–", "$foreground 60%"),
}


class ReloadsPane(VerticalScroll):
    """The history of loads; nothing is redrawn unless it changes."""

    def __init__(self) -> None:
        super().__init__(id="reloads", classes="pane")
        self._body = Static("Nothing was loaded yet.", id="reloads-body")
        self._loads: tuple[Load, ...] = ()

    def compose(self) -> ComposeResult:
        yield self._body

    def show_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.loads == self._loads:
            return
        self._loads = snapshot.loads
        self._update()

    def on_resize(self) -> None:
        self._update()

    def _update(self) -> None:
        width = self.scrollable_content_region.width
        if self._loads and width:
            lines = [line for load in reversed(self._loads) for line in load_lines(load, width)]
            self._body.update(Content("\n").join(lines))


def load_lines(load: Load, width: int) -> list[Content]:
    """A load: what and why, its steps in as many lines as they need, its error."""
    mark, style = _MARKS[load.outcome]
    when = time.strftime("%H:%M:%S", time.localtime(load.started_at))
    head = Content.assemble(
        (mark, style),
        (f" revision {load.revision}", "bold"),
        (f"  {when}  ", "$foreground 60%"),
        _outcome(load),
        (f"  {why(load)}", "$foreground"),
    )
    parts = [
        Content.assemble((f"{step.name} ", "$foreground 60%"), figures.seconds(step.seconds)) for step in load.steps
    ]
    if load.outcome in ("serving", "replaced") and load.revision > 1:
        style = "$text-warning" if load.frames_lost else "$foreground 60%"
        parts.insert(0, Content.styled(f"{figures.count(load.frames_lost, 'frame')} lost", style))
    lines = [head, *_packed(parts, width)]
    if load.report is not None:
        lines.append(Content.assemble("  ", (load.report.headline.splitlines()[0], "$text-error")))
    return lines


def _packed(parts: list[Content], width: int) -> list[Content]:
    """Parts side by side, indented, none of them broken."""
    lines: list[Content] = []
    for part in parts:
        if lines and lines[-1].cell_length + 2 + part.cell_length <= width:
            lines[-1] = Content.assemble(lines[-1], "  ", part)
        else:
            lines.append(Content.assemble("  ", part))
    return lines


def why(load: Load) -> str:
    """What made the load happen: the saved files, or the reason given."""
    if not load.files:
        return load.reason
    names = [os.path.basename(file) for file in load.files]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} saved"


def _outcome(load: Load) -> tuple[str, str]:
    if load.outcome == "loading":
        return (f"loading: {load.step}" if load.step else "loading", "$text-warning")
    if load.outcome == "superseded":
        return ("given up for a newer save", "$foreground 60%")
    word = {"serving": "runs, ready in", "replaced": "ready in", "failed": "failed after"}[load.outcome]
    style = "$text-error" if load.outcome == "failed" else "$foreground"
    return (f"{word} {figures.seconds(load.total_s)}", style)

"""LoadEntry: one load of the pipeline as lines of text: what, how, why so, and what it took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from .. import figures, wording

if TYPE_CHECKING:
    from ...snapshot import Load

_MARKS = {
    "loading": ("●", "$text-warning"),
    "serving": ("✓", "$text-success"),
    "replaced": ("✓", "$foreground 60%"),
    "failed": ("✗", "$text-error"),
    "superseded": ("–", "$foreground 60%"),
}
_FAINT = "$foreground 60%"
_INDENT = "  "
_WORTH_SAYING_S = 0.0005  # less would be told as 0 ms


@dataclass(frozen=True, slots=True)
class LoadEntry:
    """What the list of reloads shows of `load`."""

    load: Load

    def lines(self, width: int) -> list[Content]:
        """At most `width` cells each; parts stand side by side while they fit, and are wrapped between words."""
        load = self.load
        lines = packed(self._head(), width)
        lines += packed(self._plan(), width, _INDENT)
        lines += packed(self._results(), width, _INDENT)
        if load.report is not None:
            lines += wrapped(Content.styled(load.report.headline.splitlines()[0], "$text-error"), width)
        return lines

    def _head(self) -> list[Content]:
        load = self.load
        when = time.strftime("%H:%M:%S", time.localtime(load.started_at))
        cause = wording.cause(load)
        if load.reason.startswith(cause):  # and goes on to say what made it go back
            cause = load.reason
        return [
            Content.assemble(_MARKS[load.outcome], (f" revision {load.revision}", "bold")),
            Content.styled(when, _FAINT),
            self._outcome(),
            *([Content(cause)] if cause else []),
        ]

    def _outcome(self) -> Content:
        load = self.load
        if load.outcome == "loading":
            return Content.styled(f"loading: {load.step}" if load.step else "loading", "$text-warning")
        if load.outcome == "superseded":
            return Content.styled("given up for a newer save", _FAINT)
        word = {"serving": "runs, ready in", "replaced": "ready in", "failed": "failed after"}[load.outcome]
        style = "$text-error" if load.outcome == "failed" else "$foreground"
        return Content.styled(f"{word} {figures.seconds(load.total_s)}", style)

    def _plan(self) -> list[Content]:
        plan = self.load.plan
        if plan.way == "start" and not plan.standby:
            return []
        kept = plan.level == "code" and self.load.outcome in ("serving", "replaced")
        style = "$text-success" if kept else "$foreground"
        forced = "forced, not proven" if self.load.forced else ""
        parts = [
            (wording.manner(plan), style),
            (forced, "$text-warning"),
            (plan.why, _FAINT),
            (wording.room(plan), "$foreground"),
        ]
        return [Content.styled(*part) for part in parts if part[0]]

    def _results(self) -> list[Content]:
        load = self.load
        parts = []
        if load.outcome in ("serving", "replaced") and load.plan.way != "start":
            style = "$text-warning" if load.frames_lost else _FAINT
            parts.append(Content.styled(f"{figures.count(load.frames_lost, 'frame')} lost", style))
        if load.output_gap_s is not None:
            parts.append(Content.assemble(("output gap ", _FAINT), figures.seconds(load.output_gap_s)))
        memory = {
            "memory": wording.change(load.memory_before_bytes, load.memory_after_bytes),
            "vram": wording.change(load.vram_before_bytes, load.vram_after_bytes),
        }
        parts += [Content.assemble((f"{name} ", _FAINT), text) for name, text in memory.items() if text]
        return parts + [
            Content.assemble((f"{step.name} ", _FAINT), figures.seconds(step.seconds))
            for step in load.steps
            if step.seconds >= _WORTH_SAYING_S
        ]


def packed(parts: list[Content], width: int, indent: str = "") -> list[Content]:
    """Parts side by side, none of them broken unless it alone is too long; later lines are indented."""
    lines: list[Content] = []
    for part in parts:
        if lines and lines[-1].cell_length + 2 + part.cell_length <= width:
            lines[-1] = Content.assemble(lines[-1], "  ", part)
        else:
            lines += wrapped(part, width, _INDENT if lines else indent)
    return lines


def wrapped(text: Content, width: int, indent: str = _INDENT) -> list[Content]:
    """A text broken between words, each line indented; nothing for an empty one."""
    if not text:
        return []
    return [Content.assemble(indent, line.rstrip()) for line in text.wrap(max(1, width - len(indent)))]

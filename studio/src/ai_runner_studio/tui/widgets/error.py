"""ErrorPane: what is wrong with the pipeline now, where, and the code around it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.expand_tabs import expand_tabs_inline
from textual.widgets import Static

from runner.live.plain_json import visible

if TYPE_CHECKING:
    from runner.live.report import CodeLine, ErrorReport

    from ...snapshot import Snapshot

HOST_EXITED = "HostExited"
_DOING = {
    "import": "while importing",
    "params": "in the params class",
    "initialize": "in initialize()",
    "frame": "in the frame loop",
    "update_params": "in update_params()",
    "stop": "in stop()",
    "process": "in the pipeline process",
}


class ErrorPane(VerticalScroll):
    """Shown while something is wrong. It goes away by itself when that is mended."""

    def __init__(self) -> None:
        super().__init__(id="error", classes="pane")
        self.story = ErrorStory()
        self._shown: tuple[ErrorReport | None, int, int | None] = (None, 0, None)

    def compose(self) -> ComposeResult:
        yield self.story

    def show_snapshot(self, snapshot: Snapshot) -> None:
        shown = (snapshot.error, snapshot.error_count, snapshot.serving)
        if shown == self._shown:
            return
        if shown[0] != self._shown[0]:
            self.scroll_home(animate=False)
        self._shown = shown
        if snapshot.error is not None:
            self.story.tell(snapshot.error, snapshot)


class ErrorStory(Vertical):
    """Message, place, hint; the code, whose lines are never wrapped; what goes on meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Static()
        self.code = Static(classes="code")
        self.tail = Static()

    def compose(self) -> ComposeResult:
        yield self.head
        yield self.code
        yield self.tail

    def tell(self, report: ErrorReport, snapshot: Snapshot) -> None:
        self.head.update(Content("\n").join(head_lines(report)))
        self.code.update(Content("\n").join(code_lines(report.code)))
        self.code.display = bool(report.code)
        self.tail.update(Content.styled(meanwhile(snapshot), "$foreground 60%"))


def head_lines(report: ErrorReport) -> list[Content]:
    """Message, place and hint, for a person."""
    lines = [Content.assemble((f"{report.kind}: ", "bold $text-error"), (visible(report.message), "$text-error"))]
    place = f"{visible(short_path(report.file))}:{report.line}" if report.file else ""
    function = f" in {report.function}()" if report.function and report.function != "<module>" else ""
    lines.append(Content.assemble((place, "bold"), (f"{function}  {_doing(report)}", "$foreground 60%")))
    if report.hint:
        lines.append(Content.styled(visible(report.hint), "$text-warning"))
    return lines


def _doing(report: ErrorReport) -> str:
    return "in the runner host" if report.kind == HOST_EXITED else _DOING[report.phase]


def code_lines(code: tuple[CodeLine, ...]) -> list[Content]:
    """Source lines with their numbers, the one at fault marked."""
    width = max([len(str(line.number)) for line in code], default=0)
    return [
        Content.assemble(
            ("❯ " if line.fault else "  ", "$text-error"),
            (f"{line.number:>{width}} ", "$text-error" if line.fault else "$foreground 60%"),
            (
                expand_tabs_inline(visible(line.text)),
                "bold $foreground on $error 20%" if line.fault else "$foreground 80%",
            ),
        )
        for line in code
    ]


def meanwhile(snapshot: Snapshot) -> str:
    """What runs while the error stands, and the way out."""
    way_out = "Save a fix and it recovers by itself; e shows the full traceback."
    if snapshot.phase == "ended":
        return "Nothing runs. r starts it again; the log has its last lines."
    if snapshot.error is not None and snapshot.error.phase == "frame":
        times = f"{snapshot.error_count} times so far. " if snapshot.error_count > 1 else ""
        return f"{times}{way_out}"
    if snapshot.serving is None:
        return f"Nothing runs. {way_out}"
    return f"Revision {snapshot.serving} still runs. {way_out}"


def short_path(path: str) -> str:
    """A path from the working directory or the home directory, where it is below one of them."""
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    if not relative.startswith(".."):
        return relative
    home = os.path.expanduser("~")
    return path.replace(home, "~", 1) if path.startswith(home + os.sep) else path

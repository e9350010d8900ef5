"""The help screen: every key, and what the words on the main screen mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

_NAME_CELLS = 13
_KEYS = (
    ("The run", (
        ("r", "load the pipeline anew; start again after an end"),
        ("R", "load it anew in a fresh process"),
        ("b", "back to the good revision before the one that serves"),
        ("d", "differences between what serves and what is on disk"),
        ("w", "keep weights when code changes, or do not"),
        ("space", "hold the input, or let it go on"),
        ("i", "another input: file, webcam, pattern, URL, sample"),
        ("n", "frames by a local relay, as in production, or not"),
        ("e", "the latest error with its full traceback"),
        ("x", "the production image: its plan, then build and proof"),
        ("q", "quit; ctrl+c does too"),
        ("ctrl+z", "suspend the studio; fg resumes it"),
    )),
    ("The screen", (
        ("1 – 5", "parameters, log, reloads, metrics, error"),
        ("l", "the log"),
        ("enter", "into the parameters; esc leads out again"),
        ("tab", "on to the next thing that takes keys"),
        ("+  -", "picture size; or drag the line of figures"),
        ("p", "pictures by kitty, sixel, half-blocks, text"),
        ("t", "dark or light"),
        ("ctrl+p", "every command by name"),
    )),
    ("Parameters", (
        ("↑ ↓", "one step; ten with shift or page up and down"),
        ("mouse", "drag the slider"),
        ("ctrl+r", "all back to their defaults"),
    )),
    ("Reloads", (
        ("↑ ↓", "choose a revision; home and end too"),
        ("enter", "what it changed; there, tab compares with the disk"),
        ("b", "back to this revision"),
    )),
    ("Log", (
        ("v", "next level"),
        ("/", "show only lines with a text"),
        ("f", "follow the newest line, or stop"),
    )),
)  # fmt: skip
_WORDS = (
    ("revision", "one load of your code: 1, 2, … Each changing save makes one"),
    ("last good", "the revision before the one that serves that ran well. Going back loads its code again; your files "
                  "stay as they are"),
    ("level", "“code, weights kept”: changed code goes into the running process, and what initialize() built stays. "
              "“process”: a fresh process"),
    ("standby", "a process that has done the imports and waits for the next reload"),
    ("overlap", "the old process serves until the new one has given good frames"),
    ("hand-over", "the old process ends first, where memory has no room for two; the last picture stays meanwhile"),
    ("p50, p95", "half, or 95 of 100, of the frames were out sooner"),
    ("dropped", "frames that gave way to newer ones; Metrics says why"),
    ("trickle", "how frames travel in production. With n they are encoded, go by a relay on this machine to the "
                "runner, and come back the same way; the line of hops says what each part takes"),
    ("DEGRADED", "input or output is slower than it should be"),
)  # fmt: skip


class HelpScreen(ModalScreen[None]):
    """Closes with any of the keys that one would try."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Close", key_display="esc"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="help"):
            yield Static("Help", classes="dialog-title")
            with VerticalScroll(id="help-body"):
                for group, entries in (*_KEYS, ("Words", _WORDS)):
                    yield Static(group, classes="help-group")
                    yield Static(_table(entries))
            yield Static("esc closes", classes="dialog-hint")


def _table(entries: Iterable[tuple[str, str]]) -> Table:
    """Names and meanings in two columns: one widget instead of three for each entry."""
    table = Table.grid(expand=True)
    table.add_column(width=_NAME_CELLS, no_wrap=True)
    table.add_column(ratio=1)
    for name, meaning in entries:
        table.add_row(Text(f"  {name}", "bold"), Text(meaning))
    return table

"""The help screen: every key, and what the words on the main screen mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

_KEYS = (
    ("The run", (
        ("r", "load the pipeline anew; start again after an end"),
        ("space", "hold the input, or let it go on"),
        ("i", "another input: file, webcam, pattern, URL, sample"),
        ("e", "the latest error with its full traceback"),
        ("q", "quit; ctrl+c does too"),
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
    ("Log", (
        ("v", "next level"),
        ("/", "show only lines with a text"),
        ("f", "follow the newest line, or stop"),
    )),
)  # fmt: skip
_WORDS = (
    ("revision", "one state of your files; each changing save makes one"),
    ("p50, p95", "half, or 95 of 100, of the frames were out sooner"),
    ("dropped", "frames that gave way to newer ones; Metrics says why"),
    ("DEGRADED", "input or output is slower than it should be"),
)


class HelpScreen(ModalScreen[None]):
    """Closes with any of the keys that one would try."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Close", key_display="esc"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="help"):
            yield Static("Help", classes="dialog-title")
            with VerticalScroll(id="help-body"):
                yield Static(help_text())
            yield Static("esc closes", classes="dialog-hint")


def help_text() -> Content:
    """Keys by group, then the words."""
    lines: list[Content] = []
    for group, keys in _KEYS:
        lines += [Content.styled(group, "bold $primary")]
        lines += [Content.assemble((f"  {key:<9}", "bold"), does) for key, does in keys]
        lines += [Content()]
    lines += [Content.styled("Words", "bold $primary")]
    lines += [Content.assemble((f"  {word:<9}", "bold"), " ", meaning) for word, meaning in _WORDS]
    return Content("\n").join(lines)

"""The dialog that opens another input while the pipeline goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from ...errors import StudioError
from ...sources.samples import sample_videos

if TYPE_CHECKING:
    from ...session import Session

_WORDS = ("webcam", "pattern", "http://", "https://", "rtsp://", "rtmp://")
_HELP = (
    ("a path", "a media file; → completes it"),
    ("webcam", "the first camera; webcam:1 is the second"),
    ("pattern", "test pictures with a frame number; pattern:1280x720@60"),
    ("a URL", "anything FFmpeg opens: rtsp, rtmp, http"),
)


class InputSuggester(Suggester):
    """Completes words and paths."""

    def __init__(self, samples: tuple[str, ...]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._samples = samples

    async def get_suggestion(self, value: str) -> str | None:
        if not value:
            return None
        words = (*_WORDS, *self._samples)
        word = next((word for word in words if word.startswith(value) and word != value), None)
        return word or await asyncio.to_thread(complete_path, value)


def complete_path(text: str) -> str | None:
    """The first file or folder, by name, that `text` begins; None if there is none."""
    folder, start = os.path.split(text)
    try:
        entries = sorted(Path(folder or ".").expanduser().iterdir())
    except OSError:
        return None
    for entry in entries:
        if entry.name.startswith(start) and not (entry.name.startswith(".") and not start.startswith(".")):
            return os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
    return None


class OpenInput(ModalScreen[None]):
    """Stays open, with the reason, while what was typed cannot be opened."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def compose(self) -> ComposeResult:
        stream = self._session.snapshot.stream
        samples = tuple(video.name for video in sample_videos())
        help_lines = [*_HELP, ("a sample", ", ".join(samples))] if samples else _HELP
        with Vertical(classes="dialog", id="open-input"):
            yield Static("Open an input", classes="dialog-title")
            yield Input(
                placeholder=stream.source if stream else "file, webcam, pattern, URL",
                suggester=InputSuggester(samples),
            )
            yield Static(id="open-reason")
            yield Static(
                Content("\n").join(Content.assemble((f"{name:<9}", "bold"), text) for name, text in help_lines)
            )
            yield Static("enter opens, esc cancels", classes="dialog-hint")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._open(event.value.strip())

    @work(exclusive=True)
    async def _open(self, text: str) -> None:
        reason = self.query_one("#open-reason", Static)
        reason.update(Content.styled(f"Opening {text}…", "$foreground 60%"))
        try:
            await self._session.set_input(text)
        except StudioError as error:
            hint = f"\n{error.hint}" if error.hint else ""
            reason.update(Content.styled(f"{error}{hint}", "$text-error"))
            return
        self.dismiss()

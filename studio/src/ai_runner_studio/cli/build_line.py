"""BuildLine: what an export is doing, on stderr: one line kept fresh on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from ..terminal_text import CLEAR_LINE, control

if TYPE_CHECKING:
    from ..export.build_progress import BuildProgress

REFRESH_S = 0.5


class BuildLine:
    """Shows steps; call `end` before anything else is written to the same stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._text = ""
        self._since = time.monotonic()

    def show(self, doing: str, progress: BuildProgress | None) -> None:
        """Show a step: of the builder, where it has said so far, else in these words."""
        text = step_text(progress) if progress is not None else doing
        if text == self._text:
            return
        self._text, self._since = text, time.monotonic()
        if self._live:
            self._draw()
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def print(self, text: str) -> None:
        """Print a line that stays, above the live one."""
        self._clear()
        self._stream.write(text + "\n")
        if self._live and self._text:
            self._draw()
        self._stream.flush()

    async def tick(self) -> None:
        """Keep the seconds of a live line fresh, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            if self._live and self._text:
                self._draw()

    def end(self) -> None:
        """Take the live line away."""
        self._clear()
        self._text = ""

    def _clear(self) -> None:
        if self._live and self._text:
            control(self._stream, CLEAR_LINE)
            self._stream.flush()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        seconds = f"  {time.monotonic() - self._since:.0f} s"
        control(self._stream, CLEAR_LINE)
        self._stream.write(f"{self._text[: width - len(seconds)]}{seconds}")
        self._stream.flush()


def step_text(progress: BuildProgress) -> str:
    """One line: which step of how many, what it does."""
    return f"[{progress.step}/{progress.steps}] {progress.doing}"

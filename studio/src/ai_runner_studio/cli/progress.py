"""ProgressLine: how far a run has come, on stderr: one line kept fresh on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from ..terminal_text import CLEAR_LINE, control

if TYPE_CHECKING:
    from ..headless import Progress

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.1


class ProgressLine:
    """Shows `Progress`; call `end` before anything else is written to the same stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._doing = ""
        self._shown_at = float("-inf")
        self._open = False

    def show(self, progress: Progress) -> None:
        """Show it, unless something was shown a moment ago and nothing new is being done."""
        if progress.note:
            self.end()
            print(progress.note, file=self._stream, flush=True)
            return
        now = time.monotonic()
        every_s = LIVE_EVERY_S if self._live else PLAIN_EVERY_S
        if progress.doing == self._doing and now - self._shown_at < every_s:
            return
        self._doing, self._shown_at = progress.doing, now
        text = describe(progress)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            control(self._stream, CLEAR_LINE)
            self._stream.write(text[:width])
            self._open = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Take the live line away."""
        if self._open:
            control(self._stream, CLEAR_LINE)
            self._stream.flush()
            self._open = False


def describe(progress: Progress) -> str:
    """One line: percent, frames, rate, time left, latency; only what is known."""
    if not progress.frames:
        return f"{progress.doing} ..."
    parts = []
    if progress.total:
        parts.append(f"{min(100, 100 * progress.frames // progress.total):3d} %")
    parts.append(f"{progress.frames}/{progress.total} frames" if progress.total else f"{progress.frames} frames")
    if progress.fps > 0:
        parts.append(f"{progress.fps:.1f} fps")
        if progress.total:
            parts.append(f"{_minutes((progress.total - progress.frames) / progress.fps)} left")
    if progress.latency_ms is not None:
        parts.append(f"{progress.latency_ms:.1f} ms")
    return "  ".join(parts)


def _minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"

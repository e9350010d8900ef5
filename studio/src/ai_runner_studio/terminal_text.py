"""Text from outside on its way to a terminal: control characters become visible, our own sequences pass.

A log line, an exception or a source line may hold sequences that clear the screen, move the cursor or write to the
clipboard. `TerminalStream` guards what commands print; the screen has `ControlFilter` in `tui`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

CLEAR_LINE = "\r\x1b[2K"


class TerminalStream:
    """A text stream on a terminal: `write` shows control characters, `control` sends them."""

    def __init__(self, stream: TextIO) -> None:
        from runner.live.plain_json import visible  # errors are shown also where the runtime cannot be imported

        self._stream = stream
        self._visible = visible

    def write(self, text: str) -> int:
        self._stream.write(self._visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def control(self, sequence: str) -> None:
        """Send a sequence of our own."""
        self._stream.write(sequence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def control(stream: TextIO, sequence: str) -> None:
    """Send a sequence of our own to a stream, whether it is guarded or not."""
    if isinstance(stream, TerminalStream):
        stream.control(sequence)
    else:
        stream.write(sequence)


def guard_standard_streams() -> None:
    """From now on, whatever this process prints to a terminal is made visible."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not stream.closed and stream.isatty() and not isinstance(stream, TerminalStream):
            setattr(sys, name, cast("TextIO", TerminalStream(stream)))

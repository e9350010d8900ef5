"""Lines: what a process writes to a pipe, cut into lines."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

_LINE_BYTES = 8192  # longer lines of output are cut there


async def follow_lines(reader: Connection, on_line: Callable[[str], None]) -> None:
    """Call `on_line` with every line from now on, on the event loop; takes over the pipe's end."""
    pipe = os.fdopen(os.dup(reader.fileno()), "rb", 0)
    reader.close()
    await asyncio.get_running_loop().connect_read_pipe(functools.partial(_LineReader, on_line), pipe)


class _LineReader(asyncio.Protocol):
    """Cuts a pipe's bytes into lines; a carriage return (progress bars) ends one too."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
        if len(rest) > _LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._pending = rest
        for line in lines:
            self._emit(line)

    def connection_lost(self, _error: Exception | None) -> None:
        self._emit(self._pending)

    def _emit(self, line: bytes) -> None:
        text = line[:_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._on_line(text)

"""Lines: what a process writes to a pipe, cut into lines."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from .line_limit import LineLimit, dropped_text

_LINE_BYTES = 8192  # longer lines of output go in pieces
_FLUSH_S = 1.0
# More than that between two flushes is not read: the writer waits, and the host has time for frames.
_READ_BYTES = 8 << 20


class LineReader(asyncio.Protocol):
    """Cuts a pipe's bytes into lines; a carriage return (progress bars) ends one too. Their rate is bounded."""

    def __init__(self, on_line: Callable[[str], None], watch: Callable[[Sequence[bytes]], None]) -> None:
        """See `follow_lines`."""
        self._on_line = on_line
        self._watch = watch
        self._limit: LineLimit[bytes] = LineLimit(self._emit, lambda count: on_line(dropped_text(count)))
        self._pending = b""
        self._read_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
        *begun, self._pending = _pieces(rest)
        self._add([piece for line in lines if line for piece in _pieces(line)] + begun)
        self._read_bytes += len(data)
        if self._read_bytes > _READ_BYTES and not self._ending and self._transport is not None:
            self._transport.pause_reading()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._pause_over)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self.flush()

    def read_on(self) -> None:
        """The writer has ended: what it wrote last, a traceback, is still in the pipe."""
        self._ending = True
        self._pause_over()

    def flush(self) -> None:
        """Pass on what is held back, and the start of a line."""
        rest, self._pending = self._pending, b""
        self._add([rest] if rest else [])
        self._limit.flush()

    def _pause_over(self) -> None:
        self._timer = None
        self._read_bytes = 0
        self._limit.flush()
        if self._transport is not None:
            self._transport.resume_reading()

    def _add(self, lines: Sequence[bytes]) -> None:
        self._watch(lines)
        self._limit.add(lines)

    def _emit(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._on_line(text)


def _pieces(line: bytes) -> list[bytes]:
    """A line in pieces of at most `_LINE_BYTES`, cut between characters."""
    pieces = []
    start = 0
    while len(line) - start > _LINE_BYTES:
        end = start + _LINE_BYTES
        while end > start + _LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


def _nobody(_lines: Sequence[bytes]) -> None:
    """Nobody watches."""


async def follow_lines(
    reader: Connection, on_line: Callable[[str], None], watch: Callable[[Sequence[bytes]], None] = _nobody
) -> LineReader:
    """Follow what is written to a pipe, on the event loop; takes over the pipe's end.

    Args:
        on_line: gets the lines from now on, as many as `LineLimit` lets through, and a note for those it drops.
        watch: gets all of them, undecoded.
    """
    pipe = os.fdopen(os.dup(reader.fileno()), "rb", 0)
    reader.close()
    make = functools.partial(LineReader, on_line, watch)
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(make, pipe)
    return protocol

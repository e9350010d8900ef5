"""LineLimit: bounds the rate of log lines, for code that prints or logs without pause."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

BURST_LINES = 1000  # at once: what libraries print while a model loads
LINES_PER_S = 200  # on average; a line costs the host 0.1 ms, and each of its listeners as much
KEPT_LINES = 50  # the newest of those above the rate: the last lines before a crash say why

T = TypeVar("T")


class LineLimit(Generic[T]):
    """Passes lines on in order. What is above the rate is held back until `flush`, the newest `KEPT_LINES` of it.

    May be used from any thread.
    """

    def __init__(
        self,
        on_line: Callable[[T], None],
        on_dropped: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_dropped`: called before the lines of a `flush` with the number of lines that are missing there."""
        self._on_line = on_line
        self._on_dropped = on_dropped
        self._clock = clock
        self._allowed = float(BURST_LINES)
        self._counted_at = clock()
        self._held: deque[T] = deque(maxlen=KEPT_LINES)
        self._dropped = 0
        self._lock = threading.Lock()

    @property
    def holds(self) -> bool:
        """Whether anything waits for `flush`."""
        return bool(self._held)

    def add(self, lines: Sequence[T]) -> None:
        """Pass on as many as the rate allows; hold the rest."""
        with self._lock:
            passed = 0 if self._held else min(len(lines), self._allow())
            self._allowed -= passed
            rest = lines[passed:]
            self._dropped += max(0, len(self._held) + len(rest) - KEPT_LINES)
            self._held.extend(rest)
        for line in lines[:passed]:
            self._on_line(line)

    def flush(self) -> None:
        """Report what was dropped, then pass on what is held. To be called every second or so, and at the end."""
        with self._lock:
            held, dropped = tuple(self._held), self._dropped
            self._held.clear()
            self._dropped = 0
        if dropped:
            self._on_dropped(dropped)
        for line in held:
            self._on_line(line)

    def _allow(self) -> int:
        now = self._clock()
        self._allowed = min(BURST_LINES, self._allowed + (now - self._counted_at) * LINES_PER_S)
        self._counted_at = now
        return int(self._allowed)


def dropped_text(count: int) -> str:
    """What is logged in place of the lines that were dropped."""
    return f"({count:,} {'line' if count == 1 else 'lines'} dropped: more than {LINES_PER_S} lines/s)"

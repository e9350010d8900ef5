"""EventHub: passes the host's events on to whoever listens, and tells latecomers what they missed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from itertools import count

from ..events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadSucceeded,
    LogWritten,
    MetricsTaken,
    ParamsChanged,
    ProcessExited,
    ReloadOptionsChanged,
    SourcesChanged,
    StandbyChanged,
    StateChanged,
    StreamEnded,
    StreamStarted,
    TapOpened,
)

QUEUED_LINES = 2000  # for one listener that does not read
QUEUED_STATES = 2000
REMEMBERED_LOGS = 500

# What a latecomer must know to draw the whole picture: the latest of each kind.
_REMEMBERED = (
    StateChanged,
    LoadStarted,
    LoadFailed,
    LoadSucceeded,
    ProcessExited,
    StandbyChanged,
    ReloadOptionsChanged,
    SourcesChanged,
    ParamsChanged,
    StreamStarted,
    StreamEnded,
    MetricsTaken,
    TapOpened,
)


_Numbered = tuple[int, Event]


class EventHub:
    """Fans events out. `emit` never waits."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._latest: dict[tuple[type, str], Event] = {}
        self._logs: deque[LogWritten] = deque(maxlen=REMEMBERED_LOGS)
        self._closed = False

    def emit(self, event: Event) -> None:
        """Tell everyone."""
        if isinstance(event, LogWritten):
            self._logs.append(event)
        elif isinstance(event, _REMEMBERED):
            side = event.side if isinstance(event, TapOpened) else ""
            # Taken out first, so that the order is that of the latest of each kind.
            self._latest.pop((type(event), side), None)
            self._latest[type(event), side] = event
        for listener in self._listeners:
            listener.put(event)

    async def listen(self, *first: Event) -> AsyncIterator[Event]:
        """`first`, then what was missed, then events as they come; ends when the hub is closed."""
        listener = _Listener()
        for event in (*first, *self._latest.values(), *self._logs):
            listener.put(event)
        if self._closed:
            listener.close()
        self._listeners.add(listener)
        try:
            while (event_or_end := await listener.get()) is not None:
                yield event_or_end
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """No more events: every listener's iteration ends after what it has not read yet."""
        self._closed = True
        for listener in self._listeners:
            listener.close()


class _Listener:
    """Events that one listener has not read yet, in the order in which they happened.

    Each kind has a queue of its own, so that none pushes another one out. Of log lines the newest are kept, and the
    others counted. Of figures the newest replace those before. State is complete until there is too much of it; then
    what was told later of the same thing replaces what was told before.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._state: deque[_Numbered] = deque()
        self._lines: deque[_Numbered] = deque()
        self._figures: deque[_Numbered] = deque(maxlen=1)
        self._dropped = 0  # lines, before those that are kept
        self._closed = False
        self._there = asyncio.Event()

    def put(self, event: Event) -> None:
        numbered = next(self._numbers), event
        if isinstance(event, LogWritten):
            if len(self._lines) >= QUEUED_LINES:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(numbered)
        elif isinstance(event, MetricsTaken):
            self._figures.append(numbered)
        else:
            if len(self._state) >= QUEUED_STATES:
                self._renew_state()
            self._state.append(numbered)
        self._there.set()

    def _renew_state(self) -> None:
        newest = {_subject(event): (number, event) for number, event in self._state}
        self._state = deque(sorted(newest.values(), key=_number_of)[-QUEUED_STATES // 2 :])

    def close(self) -> None:
        self._closed = True
        self._there.set()

    async def get(self) -> Event | None:
        """The next one; None after the last."""
        while not (waiting := [queue for queue in (self._state, self._lines, self._figures) if queue]):
            if self._closed:
                return None
            self._there.clear()
            await self._there.wait()
        first = min(waiting, key=lambda queue: queue[0][0])
        if first is self._lines and self._dropped:
            dropped, self._dropped = self._dropped, 0
            return LogWritten(level="WARNING", source="host", message=_unread(dropped))
        return first.popleft()[1]


def _number_of(numbered: _Numbered) -> int:
    return numbered[0]


def _subject(event: Event) -> tuple[type, object]:
    """What an event is about: a later one about the same says all that is true now."""
    return type(event), getattr(event, "revision", getattr(event, "side", ""))


def _unread(lines: int) -> str:
    return f"({lines:,} {'line' if lines == 1 else 'lines'} dropped: the events were not read in time)"

"""EventHub: passes the host's events on to whoever listens, and tells latecomers what they missed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

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

QUEUED_EVENTS = 5000  # for one listener that does not read; then log lines and figures go
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


def _unread(count: int) -> str:
    return f"({count:,} log lines and metrics dropped: the events were not read in time)"


class _Listener:
    """Events that one listener has not read yet."""

    def __init__(self) -> None:
        self._events: deque[Event | None] = deque()
        self._there = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) >= QUEUED_EVENTS:
            self._make_room()
        self._events.append(event)
        self._there.set()

    def _make_room(self) -> None:
        """Drop lines and figures, of which there are always more; a load is reported only once."""
        kept = [event for event in self._events if not isinstance(event, (LogWritten, MetricsTaken))]
        dropped = len(self._events) - len(kept)
        self._events = deque(kept[-QUEUED_EVENTS // 2 :])
        if dropped:
            self._events.append(LogWritten(level="WARNING", source="host", message=_unread(dropped)))

    def close(self) -> None:
        self._events.append(None)
        self._there.set()

    async def get(self) -> Event | None:
        while not self._events:
            self._there.clear()
            await self._there.wait()
        return self._events.popleft()

"""StreamReporter: what happens, in the words of the network's events channel (contract 5.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..events import Event, LoadFailed, LogWritten, PipelineFailed, ProcessExited, StateChanged
from ..log import mask
from ..process.guardian import ProcessGuardian
from ..process.status import EVENTS_QUEUE, error_event, now_ms

STATUS_S = 10.0  # a gateway gives a session up after 30 s without any event
STATUS_APART_S = 1.0  # states that change all the time are not all told

_SENT_ONCE = ("last_params", "last_restart_logs")  # after a change; null in every other status


class StreamReporter:
    """Tells the other side of one stream about status, errors and restarts."""

    def __init__(self, guardian: ProcessGuardian, tell: Callable[[dict[str, Any], str], None]) -> None:
        self._guardian = guardian
        self._tell = tell
        self._reported_ms: int | None = None
        self._sent: dict[str, Any] = {}
        self._state_changed = asyncio.Event()

    async def run(self) -> None:
        """Report the status every `STATUS_S`, and soon after the state has changed; until cancelled."""
        while True:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            changed = asyncio.ensure_future(self._state_changed.wait())
            try:
                await asyncio.wait([changed], timeout=STATUS_S)
            finally:
                changed.cancel()
            self._state_changed.clear()
            self.report()
            await asyncio.sleep(STATUS_APART_S)

    def report(self) -> None:
        """Tell the status now."""
        status = self._guardian.status()
        report = status.model_dump(mode="json")
        inference = report["inference_status"]
        for name in _SENT_ONCE:
            value = inference[name]
            if value == self._sent.get(name):
                inference[name] = None
            self._sent[name] = value
        now = now_ms()
        last = self._reported_ms if self._reported_ms is not None else status.start_time
        self._reported_ms = now
        self._tell({**report, "last_status_timestamp": last, "timestamp": now}, EVENTS_QUEUE)

    def hear(self, event: Event) -> None:
        """Pass on what the other side must know of an event of the host."""
        match event:
            case StateChanged():
                self._state_changed.set()
            case PipelineFailed(report=report) | LoadFailed(report=report):
                self.error(report.headline_with_hint, event.at)
            case LogWritten(report_error=True, message=message):
                self.error(message, event.at)
            case ProcessExited():
                self._exited(event)

    def error(self, message: str, at_s: float | None = None) -> None:
        """Tell of an error; `at_s`: when it was, in seconds since the epoch, now if it is not given."""
        self._tell(error_event(self._guardian.spec.name, message, at_s), EVENTS_QUEUE)

    def _exited(self, event: ProcessExited) -> None:
        self.error(f"the pipeline process {event.reason}", event.at)
        if event.restarting:
            restart = {
                "type": "restart",
                "pipeline": self._guardian.spec.name,
                "restart_count": self._guardian.health.restarts + 1,
                "restart_time": event.at,
                "restart_logs": [mask(line) for line in event.logs],
            }
            self._tell(restart, EVENTS_QUEUE)

"""Hops: how long pictures take from one station of a route to the next, told apart by their presentation time."""

from __future__ import annotations

import statistics
import time
from collections import deque
from fractions import Fraction
from typing import Literal

from ...trickle.frame import RawFrame

Station = Literal["source", "sent", "arrived", "done", "answered", "returned"]

# A hop lasts from one station to the next.
HOPS: dict[str, tuple[Station, Station]] = {
    "encode": ("source", "sent"),
    "relay, decode": ("sent", "arrived"),
    "runner": ("arrived", "done"),
    "encode back": ("done", "answered"),
    "relay, decode back": ("answered", "returned"),
    "total": ("source", "returned"),
}
_CLOCK = Fraction(1, 90_000)  # of MPEG-TS; timestamps survive the way only as exactly as that
_UNDER_WAY = 1000  # pictures; those that get lost are forgotten in their turn
_WINDOW = 300  # pictures that medians are of


class Hops:
    """Notes when a picture is where. From any thread: each station has one."""

    def __init__(self) -> None:
        self._under_way: dict[int, dict[Station, int]] = {}
        self._spans: dict[str, deque[float]] = {hop: deque(maxlen=_WINDOW) for hop in HOPS}

    def note(self, station: Station, frame: RawFrame, at_ns: int | None = None) -> None:
        """A picture is there; `at_ns`: since when (`time.monotonic_ns`), if not since now."""
        key = round(frame.pts * frame.time_base / _CLOCK)
        if station == "source":
            self._under_way[key] = {}
            if len(self._under_way) > _UNDER_WAY:
                self._under_way.pop(next(iter(self._under_way)))
        stations = self._under_way.get(key)
        if stations is None:
            return
        stations[station] = at_ns or time.monotonic_ns()
        if station == "returned":
            del self._under_way[key]
            self._add(stations)

    def _add(self, stations: dict[Station, int]) -> None:
        for hop, (first, last) in HOPS.items():
            if first in stations and last in stations:
                self._spans[hop].append((stations[last] - stations[first]) / 1e6)

    def medians_ms(self) -> dict[str, float]:
        """Hop -> median ms of the latest pictures."""
        return {hop: round(statistics.median(spans), 2) for hop, spans in self._spans.items() if spans}

    def percentiles_ms(self, hop: str = "total") -> dict[str, float]:
        """p50 and p95 of one hop, ms; empty before the first picture has come back."""
        spans = sorted(self._spans[hop])
        if not spans:
            return {}
        return {"p50": round(statistics.median(spans), 2), "p95": round(spans[int(0.95 * (len(spans) - 1))], 2)}

"""Failures: tells of exceptions in the serving pipeline, but not of the same one for every frame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from ..events import Event, PipelineFailed
from ..report import ErrorReport

TOLD_EVERY_S = 0.5


class Failures:
    """Counts equal failures, and tells of them at most every `TOLD_EVERY_S`; the first one at once."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._counts: Counter[str] = Counter()
        self._told_at = float("-inf")

    def clear(self) -> None:
        """Other code runs now: what comes is new."""
        self._counts.clear()

    def add(self, revision: int, report: ErrorReport) -> None:
        """One failure of a revision."""
        self._counts[report.headline] += 1
        count = self._counts[report.headline]
        now = time.monotonic()
        if count == 1 or now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            self._emit(PipelineFailed(revision=revision, report=report, count=count))

"""StreamMetrics: latency per stage, measured on every frame of one stream."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from ..trickle.frame import RawFrame

WINDOW_FRAMES = 300
WINDOW_S = 5.0

# A stage lasts from one stamp to the next.
STAGES = {
    "queue in": ("captured", "queued"),
    "hand over": ("queued", "taken"),
    "upload": ("taken", "uploaded"),
    "pipeline": ("uploaded", "processed"),
    "download": ("processed", "downloaded"),
    "queue out": ("downloaded", "received"),
    "deliver": ("received", "delivered"),
}


class StreamMetrics:
    """Latencies of the output frames, over the newest `WINDOW_S` or over the whole stream.

    Args:
        whole: keep every frame (an offline run's report) instead of a window.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._frames: deque[tuple[float, dict[str, int]]] = deque(maxlen=None if whole else WINDOW_FRAMES)
        self.position_s = 0.0

    def add(self, frame: RawFrame) -> None:
        """An output that has been delivered (its stamps are complete)."""
        self.position_s = max(self.position_s, frame.time_s)
        self._frames.append((time.monotonic(), frame.stamps))

    def latency_ms(self) -> dict[str, float]:
        """p50, p95 and p99 of captured -> delivered, in ms; empty without frames."""
        spans = self._spans("captured", "delivered")
        if not spans:
            return {}
        values = np.percentile(spans, (50, 95, 99))
        return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}

    def stages_ms(self) -> dict[str, float]:
        """Stage -> median ms."""
        medians = {}
        for stage, (first, last) in STAGES.items():
            spans = self._spans(first, last)
            if spans:
                medians[stage] = round(float(np.median(spans)), 2)
        return medians

    def _spans(self, first: str, last: str) -> list[float]:
        oldest = 0.0 if self._whole else time.monotonic() - WINDOW_S
        return [
            (stamps[last] - stamps[first]) / 1e6
            for at, stamps in self._frames
            if at >= oldest and first in stamps and last in stamps
        ]

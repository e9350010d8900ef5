"""StreamMetrics: latency per stage, measured on every frame of one stream."""

from __future__ import annotations

import time

import numpy as np

from ..trickle.frame import STAMPS, RawFrame

WINDOW_S = 5.0
FRAMES_KEPT = 1 << 16  # the newest; 4 MB

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
# Live, a viewer waits from the source to the sink. Without losses a frame leaves the source as early as the queues in
# front of the pipeline allow, so that how long it is in them says how deep they are.
_LIVE = ("captured", "delivered")
_LOSSLESS = ("queued", "received")
_COLUMNS = {name: column for column, name in enumerate(STAMPS)}
_PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


class StreamMetrics:
    """Latencies of one stream's output frames.

    Attributes:
        position_s: presentation time of the newest output.
    """

    def __init__(self, *, lossless: bool = False) -> None:
        """`lossless`: frames wait for the pipeline and the sink, which is no latency of the pipeline."""
        self.position_s = 0.0
        self._latency = _LOSSLESS if lossless else _LIVE
        self._stamps = np.zeros((1024, len(STAMPS)), np.int64)  # ns, 0 where a frame has no such stamp
        self._count = 0

    def add(self, frame: RawFrame) -> None:
        """An output that has been delivered (its stamps are complete)."""
        self.position_s = max(self.position_s, frame.time_s)
        if self._count == len(self._stamps) < FRAMES_KEPT:
            self._stamps = np.concatenate([self._stamps, np.zeros_like(self._stamps)])
        self._stamps[self._count % len(self._stamps)] = [frame.stamps.get(name, 0) for name in STAMPS]
        self._count += 1

    def latency_ms(self, *, whole: bool = False) -> dict[str, float]:
        """p50, p95 and p99 in ms; empty without frames.

        Live from the source to the sink, lossless from the pipeline's input to its output.

        Args:
            whole: of all frames of the stream (the newest `FRAMES_KEPT`), not of the latest `WINDOW_S`.
        """
        spans = self._spans_ms(*self._latency, whole=whole)
        if not len(spans):
            return {}
        values = np.percentile(spans, list(_PERCENTILES.values()))
        return {name: round(float(value), 2) for name, value in zip(_PERCENTILES, values, strict=True)}

    def stages_ms(self, *, whole: bool = False) -> dict[str, float]:
        """Stage -> median ms. `whole`: as in `latency_ms`."""
        spans = {stage: self._spans_ms(*ends, whole=whole) for stage, ends in STAGES.items()}
        return {stage: round(float(np.median(found)), 2) for stage, found in spans.items() if len(found)}

    def _spans_ms(self, first: str, last: str, *, whole: bool) -> np.ndarray:
        stamps = self._stamps[: min(self._count, len(self._stamps))]
        begin, end = stamps[:, _COLUMNS[first]], stamps[:, _COLUMNS[last]]
        usable = (begin > 0) & (end > 0)
        if not whole:
            usable &= stamps[:, _COLUMNS["delivered"]] >= time.monotonic_ns() - int(WINDOW_S * 1e9)
        return (end[usable] - begin[usable]) / 1e6

"""StreamMetrics: percentiles per stage, of the latest seconds and of the whole stream."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np

from runner.live.streamer.metrics import FRAMES_KEPT, StreamMetrics
from runner.live.trickle import RawFrame


def delivered(seq: int, latency_ms: float, ago_s: float = 0.0) -> RawFrame:
    end = time.monotonic_ns() - int(ago_s * 1e9)
    begin = end - int(latency_ms * 1e6)
    stamps = {"captured": begin, "queued": begin + 1_000_000, "received": end, "delivered": end}
    return RawFrame(np.empty((0, 0, 3), np.uint8), seq, Fraction(1, 30), seq, stamps)


def test_nothing_is_said_without_frames() -> None:
    metrics = StreamMetrics()
    assert metrics.latency_ms() == {}
    assert metrics.stages_ms(whole=True) == {}


def test_percentiles_of_the_whole_stream() -> None:
    metrics = StreamMetrics()
    for seq in range(2000):
        metrics.add(delivered(seq, 1 + seq / 100))

    assert metrics.latency_ms(whole=True)["p50"] == 11.0
    assert metrics.latency_ms(whole=True)["p95"] == 19.99
    assert metrics.stages_ms(whole=True)["queue in"] == 1.0
    assert metrics.position_s == 1999 / 30


def test_the_window_forgets_what_is_long_ago() -> None:
    metrics = StreamMetrics()
    metrics.add(delivered(0, 500, ago_s=60))
    metrics.add(delivered(1, 10))
    assert metrics.latency_ms()["p99"] == 10
    assert metrics.latency_ms(whole=True)["p99"] > 400


def test_memory_is_bounded() -> None:
    metrics = StreamMetrics()
    frame = delivered(0, 5)
    for _ in range(FRAMES_KEPT + 10):
        metrics.add(frame)
    assert metrics._stamps.nbytes == FRAMES_KEPT * 8 * 8


def test_the_queues_of_a_lossless_stream_are_no_latency() -> None:
    live, lossless = StreamMetrics(), StreamMetrics(lossless=True)
    ms = 1_000_000
    stamps = {"captured": ms, "queued": 201 * ms, "received": 221 * ms, "delivered": 321 * ms}
    frame = RawFrame(np.empty((0, 0, 3), np.uint8), 0, Fraction(1, 30), 0, stamps)
    for metrics, expected in ((live, 320.0), (lossless, 20.0)):
        metrics.add(frame)
        assert metrics.latency_ms(whole=True) == {"p50": expected, "p95": expected, "p99": expected}
        assert metrics.stages_ms(whole=True) == {"queue in": 200.0, "deliver": 100.0}

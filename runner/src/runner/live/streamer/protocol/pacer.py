"""Pacer: holds pictures back until their time has come."""

from __future__ import annotations

import math
import threading
import time

_LATE_TOO_LONG_S = 0.1  # from here on lateness is not caught up any more but accepted
_GAP_TOO_LONG_S = 10.0  # a longer jump forward is a fault of the timestamps, not a still picture
_FASTEST_CATCH_UP = 0.5  # least distance of two late pictures, as a part of what it should be


class Pacer:
    """Keeps pictures apart as their timestamps say, on the monotonic clock.

    Every picture's time is computed from one anchor, so small errors do not add up to a drift.
    After a stall (a slow disk, a reader that paused) the anchor moves instead: pictures never
    come in a burst.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._anchor_s = 0.0
        self._last_time_s = math.inf
        self._last_given_s = 0.0

    def wait(self, time_s: float) -> bool:
        """Wait for presentation time `time_s`; False when `stop` was set meanwhile."""
        now_s = time.monotonic()
        step_s = time_s - self._last_time_s
        steady = 0 <= step_s <= _GAP_TOO_LONG_S
        if not steady or now_s - (self._anchor_s + time_s) > _LATE_TOO_LONG_S:
            self._anchor_s = now_s - time_s
        else:
            due_s = max(self._anchor_s + time_s, self._last_given_s + step_s * _FASTEST_CATCH_UP)
            self._stop.wait(max(0.0, due_s - now_s))
        self._last_time_s = time_s
        self._last_given_s = time.monotonic()
        return not self._stop.is_set()

"""Burst: the beginning of a network stream, where what the server has kept comes all at once."""

from __future__ import annotations

import time

from ...trickle.frame import RawFrame

LENGTH_S = 2.0  # of presentation time: one segment
# Later on networks bring some pictures late and then several at once. So long one waits for the one before it to be
# taken, less than the interval at which they come: what has come late is worked off, and no delay builds up.
LEEWAY_S = 0.015
LIMIT_S = 3.0  # real time; a pipeline that has not worked it off by then will not


class Burst:
    """Tells which frames belong to the burst: they wait for their turn, later ones give way to newer ones."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._first_s = 0.0
        self._over = False

    def lasts(self, frame: RawFrame) -> bool:
        """Whether this frame is part of it."""
        if self._over:
            return False
        if self._began_s is None:
            self._began_s, self._first_s = time.monotonic(), frame.time_s
        early = frame.time_s - self._first_s < LENGTH_S and time.monotonic() - self._began_s < LIMIT_S
        self._over = not early
        return early

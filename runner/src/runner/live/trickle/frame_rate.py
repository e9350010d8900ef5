"""FrameRateCap: lets through at most so many pictures per second of presentation time, evenly."""

from __future__ import annotations

from fractions import Fraction

from .transport_stream import CLOCK_HZ


class FrameRateCap:
    """Decides picture by picture; times only, so it can be asked before a picture is scaled.

    Each picture let through books one interval, and one that comes up to half an interval early is
    still let through: a source of just that rate loses none to its jitter, and of a faster one every n-th
    is left out.
    """

    def __init__(self, max_fps: float | None) -> None:
        """`max_fps` in pictures per second, above 0; None lets all through."""
        if max_fps is not None and max_fps <= 0:
            raise ValueError(f"A frame rate must be above 0, not {max_fps:g}")
        self._interval = None if max_fps is None else CLOCK_HZ / Fraction(max_fps).limit_denominator(1001)
        self._due: Fraction | None = None

    def takes(self, pts: int) -> bool:
        """Whether a picture of that time (in 1/90000 s, growing) belongs to those let through."""
        if self._interval is None:
            return True
        if self._due is not None and pts < self._due - self._interval / 2:
            return False
        # After a gap the count begins anew: what was not sent is not made up for.
        late = self._due is None or pts - self._due >= self._interval
        self._due = (Fraction(pts) if late or self._due is None else self._due) + self._interval
        return True

"""Pace: how often a preview may be drawn, and how finely, so that keys stay quick on any machine and line."""

from __future__ import annotations

from .blocks import Depth

_CPU_SHARE = 0.4  # of one core, for encoding and composing
_WINDOW = 30  # frames over which the rate is looked at
_FINE_AGAIN_S = 15.0  # how long to wait with fewer colours before trying more of them; doubled each time
_FINE_AGAIN_MAX_S = 240.0
_LOWEST_FPS = 2.0
_ENOUGH_FPS = 6.0  # fewer colours rather than fewer frames than this
_DEPTHS: tuple[Depth, ...] = ("24-bit", "few levels", "256")


class Pace:
    """Decides frame by frame whether to draw, from what frames cost and how fast the line takes them.

    Fewer frames come first, then fewer levels per colour, then 256 colours.

    Attributes:
        depth: colours to draw with. fps: frames per second actually drawn lately.
        reason: why they are fewer than the terminal can show, in words; "" while they are not.
        cost_s: CPU seconds per drawn frame, a running mean.
    """

    def __init__(self, target_fps: float, depth: Depth = "24-bit") -> None:
        self.target_fps = max(_LOWEST_FPS, target_fps)
        self.depth: Depth = depth
        self.reason = ""
        self.fps = 0.0
        self.cost_s = 0.0
        self._finest: Depth = depth
        self._due = 0.0
        self._last_drawn: float | None = None
        self._looked = self._held = 0
        self._coarse_since = 0.0
        self._fine_again_s = _FINE_AGAIN_S

    @property
    def interval_s(self) -> float:
        """Seconds between frames: as asked for, or longer where frames cost more than their share."""
        return min(1 / _LOWEST_FPS, max(1 / self.target_fps, self.cost_s / _CPU_SHARE))

    def due(self, now: float, backlog: int) -> bool:
        """Whether to draw at `now` (monotonic seconds), given the writes that the line has yet to take."""
        if now < self._due:
            return False
        self._due = max(self._due + self.interval_s, now + self.interval_s / 2)
        self._looked += 1
        self._held += backlog > 0
        if self._looked >= _WINDOW:
            self._choose_depth(now)
        return backlog == 0

    def drawn(self, now: float, cost_s: float) -> None:
        """A frame was drawn at `now`, for `cost_s` seconds of CPU time."""
        self.cost_s += (cost_s - self.cost_s) * 0.1 if self.cost_s else cost_s
        if self._last_drawn is not None and now > self._last_drawn:
            self.fps += (1 / (now - self._last_drawn) - self.fps) * 0.1
        self._last_drawn = now

    def _choose_depth(self, now: float) -> None:
        enough = min(_ENOUGH_FPS, self.target_fps / 2)
        dear = 1 / self.interval_s < enough
        slow_line = (1 - self._held / self._looked) / self.interval_s < enough
        self._looked = self._held = 0
        at = _DEPTHS.index(self.depth)
        if (dear or slow_line) and self.depth != _DEPTHS[-1]:
            self.depth = _DEPTHS[at + 1]
            self.reason = f"drawing a frame takes {self.cost_s * 1000:.0f} ms" if dear else "the terminal reads slowly"
            self._coarse_since = now
        elif (
            not dear and not slow_line and self.depth != self._finest and now - self._coarse_since > self._fine_again_s
        ):
            self.depth = _DEPTHS[at - 1]
            self.reason = "" if self.depth == self._finest else self.reason
            self._coarse_since = now
            self._fine_again_s = min(_FINE_AGAIN_MAX_S, self._fine_again_s * 2)

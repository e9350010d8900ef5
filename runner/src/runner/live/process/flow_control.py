"""FlowControl: decides when the next frame may enter a pipeline.

A frame is inside a pipeline from `put_video_frame` to the first output with the same or a later presentation time. How
many a pipeline needs inside is not declared: one that looks ahead or gathers batches returns no output until it has
enough, and one with a queue takes any number.
"""

from __future__ import annotations

from collections import deque

WINDOW = 4  # smallest window: enough for stages that overlap
CEILING = 64  # largest window
OUTPUTS_HELD = 2  # one at the sink, and one that waits for it or is about to
PATIENCE_S = 0.1  # pause before a starved pipeline gets one more frame, while its pace is unknown
SHORT_PATIENCE_S = 0.03  # the same, at least, once its pace is known, and for frames that it has skipped
CEILING_PATIENCE_S = 0.5  # the same, at least, with `CEILING` frames inside
VERIFY_LIMIT_S = 3.0
_PACE = 3  # times the longest recent wait for an answer is patience enough
_FORGOTTEN_AFTER = 4 * CEILING  # answers without starving
_RECENT = 16  # answers


class FlowControl:
    """Counts the frames inside one pipeline, and learns how many it needs.

    The next frame may enter when three conditions hold: `put_video_frame` is not busy, the sink is idle or has a single
    output and no frame was sent since, and fewer than `window` frames are inside. If only the window keeps frames out
    and no output comes, the pipeline is *starved*: it gets one more frame after each pause, until it returns an output.
    That may have been a slow frame, so the window does not grow yet. The next time, the first pause is twice as long as
    the first starvation was. A slow pipeline returns its next output in that time. One that needs the frames does not,
    and the window grows to the smaller number of frames that were inside at the two outputs.

    Has no timers: callers pass the monotonic time in seconds.

    Attributes:
        window: limit for the frames inside.
        busy: a frame is in `put_video_frame`, or the pipeline is not loaded.
        outputs_held: outputs received and not released.
    """

    def __init__(self) -> None:
        self.window = WINDOW
        self.busy = True
        self.outputs_held = 0
        self._inside: deque[float] = deque()
        self._sent_since = 0  # the latest output
        self._referenced = 0
        self._extra = 0  # frames above the window that were granted since the pipeline has starved
        self._starved_since = 0.0
        self._quiet_since = 0.0
        self._waits: deque[float] = deque(maxlen=_RECENT)
        self._suspected = 0  # frames inside when it was last fed; 0 once that is confirmed or forgotten
        self._verify_s = 0.0
        self._calm = 0  # answers since it last starved
        self._shrink_after = _FORGOTTEN_AFTER
        self._ceiling_reached = False

    @property
    def inside(self) -> int:
        """Frames sent and not answered."""
        return len(self._inside)

    @property
    def has_room(self) -> bool:
        """True if a frame may enter now."""
        sink_is_behind = self.outputs_held and self.outputs_held + self._sent_since >= OUTPUTS_HELD
        return not self.busy and not sink_is_behind and self.inside < self.window + self._extra

    @property
    def is_starved(self) -> bool:
        """True if only the window keeps frames out."""
        return not self.busy and not self.outputs_held and self.inside >= self.window + self._extra

    def wait_s(self, now: float) -> float:
        """Return the seconds until a starved pipeline is due for a `grant`."""
        return max(0.0, self._quiet_since + self._patience_s - now)

    def open_stream(self) -> None:
        """Forget the frames of the previous stream: their outputs are dropped, and times start again."""
        self._inside.clear()
        self._extra = 0

    def sent(self, time_s: float) -> None:
        """Count a frame that enters."""
        self.busy = True
        self._sent_since += 1
        self._inside.append(time_s)

    def taken(self, referenced: int, now: float) -> None:
        """Note that `put_video_frame` has returned. `referenced`: input tensors in use by the pipeline."""
        self.busy = False
        self._referenced = referenced
        self._quiet_since = now

    def failed(self) -> None:
        """Count a frame that raised an exception: no output answers it."""
        if self._inside:
            self._inside.popleft()

    def answered(self, time_s: float | None, now: float) -> None:
        """Count an output.

        Args:
            time_s: its presentation time, None if that is earlier than any input's. A pipeline that sets its own
                timestamps answers one input per output.
        """
        self._sent_since = 0
        before = self.inside
        if time_s is not None:
            self._inside = deque(inside_s for inside_s in self._inside if inside_s > time_s)
        else:
            self.failed()
        if self.inside < before:
            if self._extra:
                self._fed(before, now)
            else:
                self._waits.append(now - self._quiet_since)
                self._count_calm()
        self._quiet_since = now

    def released(self, now: float) -> None:
        """Count an output that the sink has released."""
        self.outputs_held -= 1
        self._quiet_since = now

    def grant(self) -> bool:
        """Let a starved pipeline have one more frame; return True when it first reaches `CEILING`.

        A pipeline may skip inputs: frames that it no longer refers to are taken to be skipped.
        """
        if self._has_skipped:
            while self._has_skipped:
                self._inside.popleft()
            return False
        if not self._extra:
            self._starved_since = self._quiet_since
        if self.inside < CEILING:
            self._extra = self.inside + 1 - self.window
            return False
        self._extra = CEILING - self.window
        self._inside.popleft()
        first, self._ceiling_reached = not self._ceiling_reached, True
        return first

    @property
    def _has_skipped(self) -> bool:
        return self._referenced < self.inside

    @property
    def _patience_s(self) -> float:
        known = self._has_skipped or self._waits
        patience = max(SHORT_PATIENCE_S if known else PATIENCE_S, _PACE * max(self._waits, default=0.0))
        if self._has_skipped:
            return patience
        if self.inside >= CEILING:
            return max(patience, CEILING_PATIENCE_S)
        return patience if self._extra else max(patience, self._verify_s)

    def _fed(self, needed: int, now: float) -> None:
        """Note that a starved pipeline has returned an output when it had `needed` frames inside."""
        self._extra = self._calm = 0
        if self._suspected:
            self.window = max(self.window, min(needed, self._suspected, CEILING))
            self._suspected, self._verify_s = 0, 0.0
            self._shrink_after *= 2
        else:
            self._suspected = needed
            self._verify_s = min(VERIFY_LIMIT_S, 2 * (now - self._starved_since))

    def _count_calm(self) -> None:
        self._calm += 1
        if self._calm == _FORGOTTEN_AFTER:
            self._suspected, self._verify_s = 0, 0.0
        if self._calm >= self._shrink_after and self.window > WINDOW:
            # It may need fewer by now. If that starves it, the next output restores the window.
            self._suspected, self._verify_s = self.window, 0.0
            self.window -= 1
            self._calm = 0

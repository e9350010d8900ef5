"""Gatherer: frames are kept until there are as many as a pipeline takes at once."""

from __future__ import annotations

from dataclasses import dataclass

from runner.live.trickle import VideoFrame


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames of one stream that go into one call.

    Attributes:
        frames: in the order in which they came, at least one.
        request_id: the stream's.
        interval: time between two inputs, in units of their time base.
        padding: how many of the last are repetitions, to make up the number.
    """

    frames: tuple[VideoFrame, ...]
    request_id: str
    interval: int
    padding: int = 0


class Gatherer:
    """Frames on their way into the next chunk.

    Attributes:
        size: how many frames make a chunk; may change while some are waiting.
    """

    def __init__(self) -> None:
        self.size = 1
        self._frames: list[VideoFrame] = []
        self._request_id = ""
        self._previous: int | None = None  # timestamp of the input before
        self._interval = 0

    def add(self, frame: VideoFrame, request_id: str) -> Chunk | None:
        """Take a frame; a chunk if that makes one full. Those of another stream that wait are dropped."""
        if request_id != self._request_id:
            self.clear()
            self._request_id = request_id
        if self._previous is not None and frame.timestamp > self._previous:
            self._interval = frame.timestamp - self._previous
        self._previous = frame.timestamp
        self._frames.append(frame)
        return self._take() if len(self._frames) >= self.size else None

    def rest(self) -> Chunk | None:
        """What waits although it is no full chunk, made up with its last frame; None if nothing waits."""
        waiting = len(self._frames)
        if not waiting:
            return None
        padding = max(0, self.size - waiting)
        self._frames += [self._frames[-1]] * padding
        return self._take(padding)

    def clear(self) -> None:
        """Forget what waits, and what was: another stream begins."""
        self._frames.clear()
        self._previous, self._interval = None, 0

    def _take(self, padding: int = 0) -> Chunk:
        frames, self._frames = tuple(self._frames), []
        return Chunk(frames, self._request_id, self._interval, padding)

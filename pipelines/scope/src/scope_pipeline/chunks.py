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
        interval: time between two inputs, in units of their time base; 0 if it is not known yet.
        padding: how many of the last are repetitions, to make up the number.
    """

    frames: tuple[VideoFrame, ...]
    request_id: str
    interval: int
    padding: int = 0


class Gatherer:
    """Frames on their way into the next chunk. How many make one may be another number each time."""

    def __init__(self) -> None:
        self._frames: list[VideoFrame] = []
        self._request_id = ""
        self._previous: int | None = None  # timestamp of the input before
        self._interval = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._frames)

    def add(self, frame: VideoFrame, request_id: str) -> None:
        """Take a frame. Those of another stream that wait are dropped."""
        if request_id != self._request_id:
            self.clear()
            self._request_id = request_id
        if self._previous is not None and frame.timestamp > self._previous:
            self._interval = frame.timestamp - self._previous
        self._previous = frame.timestamp
        self._frames.append(frame)

    def take(self, size: int) -> Chunk | None:
        """The `size` oldest; None while there are fewer."""
        if len(self._frames) < size:
            return None
        frames, self._frames = self._frames[:size], self._frames[size:]
        return Chunk(tuple(frames), self._request_id, self._interval)

    def rest(self, size: int) -> Chunk | None:
        """The oldest, made up to `size` with the last one where there are fewer; None if nothing waits."""
        padding = size - len(self._frames)
        if padding <= 0 or not self._frames:
            return self.take(size)
        frames, self._frames = self._frames + self._frames[-1:] * padding, []
        return Chunk(tuple(frames), self._request_id, self._interval, padding)

    def clear(self) -> None:
        """Forget what waits, and what was: another stream begins."""
        self._frames.clear()
        self._previous, self._interval = None, 0

"""FrameTimes: timestamps for the frames of a file that have none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av

# A decoder outputs frames in another order than packets arrive, by at most this many.
_REORDERED = 16
_MOST_HELD = 3000  # packets, of all tracks


class FrameTimes:
    """Completes the timestamps of one video track from those of the neighbouring frames.

    Matroska files that start at a negative time have no timestamps up to 0, and some live sources
    have none before their clocks agree.
    """

    def __init__(self, video: av.VideoStream, fps: float) -> None:
        self._track = video.index
        self._time_base = video.time_base or Fraction(1, 90_000)
        self._step = 1 / (Fraction(fps) * self._time_base)
        self._next: Fraction | None = None

    def look_ahead(self, packets: Iterator[av.Packet[av.stream.Stream]]) -> Iterator[av.Packet[av.stream.Stream]]:
        """Yield all packets; hold back the first ones only as long as those of the video have no timestamp."""
        held = self._hold(packets)
        while held:
            yield held.popleft()
        yield from packets

    def _hold(self, packets: Iterator[av.Packet[av.stream.Stream]]) -> deque[av.Packet[av.stream.Stream]]:
        held: deque[av.Packet[av.stream.Stream]] = deque()
        without, times = 0, list[int]()
        for packet in packets:
            held.append(packet)
            if packet.stream_index == self._track and packet.size:
                time = packet.pts if packet.pts is not None else packet.dts
                if time is None:
                    without += 1
                else:
                    times.append(time)
            if (times and not without) or len(times) > _REORDERED or len(held) == _MOST_HELD:
                break
        if times:
            self._next = min(times) - without * self._step
        return held

    def complete(self, frame: av.VideoFrame) -> bool:
        """Give the frame a timestamp if it has none. False if none of its neighbours has one either."""
        if frame.pts is None:
            if self._next is None:
                return False
            frame.pts, frame.time_base = round(self._next), self._time_base
            self._next += self._step
        else:
            self._next = frame.pts + self._step
        return True

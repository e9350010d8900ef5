"""Timeline: presentation times that grow, whatever the clock of the source does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .transport_stream import CLOCK_HZ, WRAP

_LONGEST_STEP_BACK = CLOCK_HZ // 2  # further back it is another clock, not disorder
_LONGEST_PAUSE = 60 * CLOCK_HZ  # further on too
_SAME_CLOCK = 10 * CLOCK_HZ  # how far tracks of one clock may be apart
_LONGEST_REPEAT = 10 * CLOCK_HZ  # a trickle server keeps five segments of about 2 s
_TIMES_KEPT = 1000  # of a track: more than fit into `_LONGEST_REPEAT`


@dataclass(slots=True)
class _Clock:
    """One clock of the source.

    Attributes:
        newest: its newest time, without wraps.
        offset: what is added to its times.
    """

    newest: int
    offset: int


@dataclass(slots=True)
class _Track:
    """One track.

    Attributes:
        newest: its newest time, without wraps.
        given: what `Timeline.place` made of it.
        recent: its latest times, by which a repeat is recognized.
        repeated: how far a repeat that is under way has come, None without one.
    """

    clock: _Clock
    newest: int
    given: int
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    repeated: int | None = None


class Timeline:
    """Turns times of all tracks, in 1/90000 s, into times that grow on each track.

    A wrap is undone. Times that jump (the source was restarted, say) are another clock: they go on
    where the longest track has ended, and since the offset belongs to the clock, tracks that jump one
    after the other stay in step. As long as nothing of that happens, times are what they were.

    Times that go back to one that the track has had are a repeat, e.g. a segment that a server gives again: it has
    no place, and what follows it keeps its times. A source that plays a short clip again and again with the same
    times looks like that once; from its second repeat in a row on it is another clock each time.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._clock: _Clock | None = None
        self._end = 0
        self._loops = False

    def place(self, track: str, stamp: int, length: int) -> int | None:
        """The time for something of that length; None where it does not lie behind what was before on its track."""
        known = self._tracks.get(track)
        if known is None:
            clock = self._clock or _Clock(stamp, 0)
            time = _unwrapped(stamp, clock.newest)
        else:
            time = _unwrapped(stamp, known.newest)
            clock = known.clock
            if self._is_repeated(known, time):
                return None
            if not -_LONGEST_STEP_BACK < time - known.newest < _LONGEST_PAUSE:
                time, clock = self._other_clock(stamp, time, known)
        given = time + clock.offset
        if known is not None and given <= known.given:
            return None
        if known is None or known.clock is not clock:
            known = self._tracks[track] = _Track(clock, time, given)
        known.newest, known.given = time, given
        known.recent.append(time)
        clock.newest = time
        self._clock = clock if self._clock is None else self._clock
        self._end = max(self._end, given + length)
        return given

    def _is_repeated(self, known: _Track, time: int) -> bool:
        if time > known.newest:
            known.repeated = None
        elif known.repeated is None:
            back = known.newest - time
            if not self._loops and _LONGEST_STEP_BACK <= back < _LONGEST_REPEAT and time in known.recent:
                known.repeated = time
        elif time > known.repeated - _LONGEST_STEP_BACK:
            known.repeated = max(time, known.repeated)
        else:  # back again, and nothing new came in between
            known.repeated = None
            self._loops = True
        return known.repeated is not None

    def _other_clock(self, stamp: int, time: int, known: _Track) -> tuple[int, _Clock]:
        newest = self._clock
        if newest is not None and newest is not known.clock:
            near = _unwrapped(stamp, newest.newest)
            if abs(near - newest.newest) < _SAME_CLOCK:
                return near, newest
        self._clock = _Clock(time, self._end - time)
        return time, self._clock


def _unwrapped(stamp: int, near: int) -> int:
    """The time that a stamp of 33 bits means, next to a known one."""
    return near + (stamp - near + WRAP // 2) % WRAP - WRAP // 2

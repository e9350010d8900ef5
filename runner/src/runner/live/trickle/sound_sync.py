"""SoundSync: lets sound into the output in step with the pictures (contract 2.3)."""

from __future__ import annotations

from collections import deque

from .frame import AudioFrame

MAX_WAITING = 100
MAX_APART_S = 2.0


class SoundSync:
    """Holds sound back until a picture of its time is there, and leaves out what is too far off.

    Sound passes the pipeline by, so it mostly comes first. Before the first picture all of it waits,
    later what is more than two seconds ahead of the newest picture; at most 100 pieces wait, and then
    the oldest give way. Sound more than two seconds behind the newest picture is left out. So the picture is
    never held up by sound, however far apart the two are.

    Attributes:
        dropped: reason -> pieces of sound left out: ``sound_early`` (too many waited) and ``sound_late``.
    """

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self._waiting: deque[AudioFrame] = deque()
        self._picture_s: float | None = None

    def put(self, sound: AudioFrame) -> list[AudioFrame]:
        """Sound has come: what of it, and of what waits, is to be written now."""
        self._waiting.append(sound)
        ready = self._ready()
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._drop("sound_early")
        return ready

    def picture(self, time_s: float) -> list[AudioFrame]:
        """A picture of that time has been written: which sound is to be written now."""
        self._picture_s = time_s
        return self._ready()

    def _ready(self) -> list[AudioFrame]:
        ready: list[AudioFrame] = []
        if self._picture_s is None:
            return ready
        while self._waiting:
            begin_s = float(self._waiting[0].timestamp * self._waiting[0].time_base)
            if begin_s > self._picture_s + MAX_APART_S:
                break
            sound = self._waiting.popleft()
            if begin_s < self._picture_s - MAX_APART_S:
                self._drop("sound_late")
            else:
                ready.append(sound)
        return ready

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

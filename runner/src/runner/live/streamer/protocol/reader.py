"""SourceReader: the thread that opens a source, reads it, paces it, and closes it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

from ...trickle.frame import AudioFrame, RawFrame
from .handoff import Handoff
from .pacer import Pacer
from .protocol import ProtocolStatistics, StreamRequest
from .source import Source, open_source

_LONGEST_TAIL_S = 1.0  # how far sound may lie behind its picture in a file
_GIVE_WAY_S = 0.004
_SAME_TIME_S = 1e-6  # timestamps nearer to each other than this are the same, rounded
_DEFAULT_FPS = 30


class SourceReader:
    """Owns one source from opening to closing, so that nothing blocking ever runs on the loop.

    Its thread is a daemon: a read that nothing can interrupt (a camera that hangs) must not keep the process alive.

    Attributes:
        opened: gets the open source, or the error.
        handoff: where the frames come out.
    """

    def __init__(
        self,
        request: StreamRequest,
        width: int,
        height: int,
        statistics: ProtocolStatistics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.opened: Future[Source] = Future()
        self.handoff = Handoff(loop, request.policy)
        self._request = request
        self._size = (width, height)
        self._statistics = statistics
        self._stop = threading.Event()
        self._begin = threading.Event()
        self._superseded = 0
        self._going = threading.Event()  # not paused
        self._going.set()
        self._thread = threading.Thread(target=self._run, name="source reader", daemon=True)

    def start(self) -> None:
        """Open the source, in the thread."""
        self._thread.start()

    def begin(self) -> None:
        """Start reading; until then the source is only open."""
        self._begin.set()

    def pause(self, paused: bool) -> None:
        """Hold the source before its next picture, or let it go on."""
        if paused:
            self._going.clear()
        else:
            self._going.set()

    def superseded(self, count: int) -> None:
        """So many frames that were handed on came to nothing: as many more may follow."""
        self._superseded += count

    def stop(self) -> None:
        """Stop soon, and take nothing out of the handoff any more."""
        self._stop.set()
        self._going.set()
        self._begin.set()
        self.handoff.close()

    def join(self, limit_s: float) -> None:
        """Wait for the thread, but not longer than the limit; blocks."""
        self._thread.join(limit_s)

    def _run(self) -> None:
        # From here on a cancelled waiter can no longer cancel the future under our hands.
        self.opened.set_running_or_notify_cancel()
        try:
            source = open_source(self._request, *self._size, self._stop)
        except BaseException as error:
            self.opened.set_exception(error)
            return
        self.opened.set_result(source)
        failure: Exception | None = None
        try:
            self._begin.wait()
            self._read(source)
        except Exception as error:  # the edge of the thread: whoever reads the frames gets it
            failure = error
        self._count(source)  # whole before the end is told
        self.handoff.end(failure)
        source.close()

    def _read(self, source: Source) -> None:
        pacer = Pacer(self._stop) if self._request.paced and not source.info.live else None
        frames = source.frames()
        end_s = self._read_pictures(source, frames, pacer)
        # Sound may lie behind its picture in a file. A paced stream would come late by waiting for it.
        if end_s is not None and pacer is None and source.audio is not None and not source.info.live:
            self._read_tail(frames, end_s)

    def _read_pictures(
        self, source: Source, frames: Iterator[RawFrame | AudioFrame], pacer: Pacer | None
    ) -> float | None:
        """Give frames out up to the request's limits; the presentation time reached, None if all are through."""
        request = self._request
        end_s = math.inf
        seq = given = 0
        for frame in frames:
            if not source.info.live:
                self._going.wait()
            if self._stop.is_set():
                return None
            if isinstance(frame, AudioFrame):
                if _time_s(frame) < end_s:
                    self.handoff.put(frame)
                continue
            if seq == 0 and request.max_seconds is not None:
                end_s = frame.time_s + request.max_seconds - _SAME_TIME_S
            if frame.time_s >= end_s:
                return end_s
            if pacer is not None and not pacer.wait(frame.time_s):
                return None
            frame.seq = seq
            frame.stamps.setdefault("captured", time.monotonic_ns())
            seq += 1
            self._count(source)
            if self.handoff.put(frame) is None:
                given += 1
            else:
                self._statistics.drop("source")
            if pacer is not None:
                self._give_way(1 / (source.info.fps or _DEFAULT_FPS))
            if self._is_enough(given):
                return frame.time_s + 1 / (source.info.fps or _DEFAULT_FPS) - _SAME_TIME_S
        return None

    def _is_enough(self, given: int) -> bool:
        limit = self._request.max_frames
        if limit is None or given - self._superseded < limit:
            return False
        if self._request.policy == "newest":
            self.handoff.wait_asked()  # the last one may still supersede another
        return given - self._superseded >= limit

    def _give_way(self, interval_s: float) -> None:
        """Let the loop have the interpreter for what it does first with a picture.

        The next one is not due yet; making it at once would make this one late by half of what that takes.
        """
        limit_s = min(_GIVE_WAY_S, interval_s / 10)
        self.handoff.wait_taken(limit_s)
        time.sleep(limit_s / 4)

    def _read_tail(self, frames: Iterator[RawFrame | AudioFrame], end_s: float) -> None:
        """Only the sound, up to the end of the last picture."""
        for frame in frames:
            if isinstance(frame, AudioFrame):
                if _time_s(frame) >= end_s:
                    return
                self.handoff.put(frame)
            elif frame.time_s > end_s + _LONGEST_TAIL_S or self._stop.is_set():
                return

    def _count(self, source: Source) -> None:
        self._statistics.damage = source.damage
        if source.without_timestamp:
            self._statistics.dropped["no_timestamp"] = source.without_timestamp


def _time_s(sound: AudioFrame) -> float:
    return float(sound.timestamp * sound.time_base)

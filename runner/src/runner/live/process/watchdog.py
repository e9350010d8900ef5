"""Watchdog: notices what is wrong with the serving process before the states of the contract call it an error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..events import Event, PipelineWarned
from .place import users_place
from .revision import Revision

SLOW_AFTER_S = 5.0  # one frame in put_video_frame
BLOCKED_AFTER_S = 3.0  # the event loop has not come round
IMPORTING_S = 10.0  # until the next look at what was found importing
THREADS_ADDED = 64  # more than when it was first looked at


_IMPORT = 'File "<frozen importlib._bootstrap>"'


class Watchdog:
    """Looks at a process every second and warns, once for each revision and thing."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._revision = 0
        self._threads: int | None = None
        self._told: set[str] = set()
        self._since = 0.0
        self._quiet_until = 0.0

    async def look(self, revision: Revision) -> None:
        """Warn if there is something to warn of."""
        if revision.number != self._revision:
            self._revision, self._threads, self._told = revision.number, None, set()
            self._since = self._quiet_until = time.monotonic()
        self._look_at_threads(revision)
        busy_s = revision.process.busy_s
        beat = revision.process.heartbeat
        # The latest heartbeat may be one of the load, whose imports block the event loop.
        lag_s = min(beat.loop_lag_s, revision.process.heartbeat_at - self._since) if beat is not None else 0.0
        if time.monotonic() < self._quiet_until:
            return
        if lag_s > BLOCKED_AFTER_S:
            await self._tell_place(revision, f"the event loop is blocked, for {lag_s:.0f} s so far")
        elif busy_s > SLOW_AFTER_S:
            await self._tell_place(revision, f"a frame has been in the pipeline for {busy_s:.0f} s")

    def _look_at_threads(self, revision: Revision) -> None:
        """Threads that are begun and never ended: each one slows the rest down, until no more can be had."""
        beat = revision.process.heartbeat
        if beat is None:
            return
        self._threads = self._threads or beat.threads
        if beat.threads - self._threads > THREADS_ADDED:
            self._tell(
                revision,
                "threads",
                f"the pipeline has {beat.threads} threads, {self._threads} before: do they ever end?",
            )

    async def _tell_place(self, revision: Revision, what: str) -> None:
        if "place" in self._told:
            return
        self._told.add("place")
        stacks = await revision.process.dump_stacks()
        if _IMPORT in stacks:
            self._told.discard("place")
            self._quiet_until = time.monotonic() + IMPORTING_S
            return
        place = users_place(stacks)
        where = f": {os.path.basename(place[0])}:{place[1]} in {place[2]}" if place else ""
        self._tell(revision, "told", f"{what}{where}")

    def _tell(self, revision: Revision, thing: str, message: str) -> None:
        if thing not in self._told:
            self._told.add(thing)
            self._emit(PipelineWarned(revision=revision.number, message=message))

"""Ending: the one way out of a process. Whatever arrives during it only makes it faster."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

END_LIMIT_S = 12.0  # a host takes up to 7 s to stop in order
HURRIED_LIMIT_S = 3.0


class Ending:
    """Begins once, from a key, a signal, or an error. After a limit the process is gone, and its children with it.

    Attributes:
        begun: whether the process is on its way out.
        kills: called in the order of this list to end children at once; from any thread.
    """

    def __init__(self, limit_s: float = END_LIMIT_S, force: Callable[[int], object] = os._exit) -> None:
        """`force`: called with an exit code after the limit."""
        self.begun = False
        self.kills: list[Callable[[], None]] = []
        self._limit_s = limit_s
        self._force = force
        self._exit_code = 1
        self._hurried = threading.Event()

    def begin(self, exit_code: int = 1) -> None:
        """Limit the time from now on. `exit_code`: of the process if it must be ended by force."""
        if not self.begun:
            self.begun, self._exit_code = True, exit_code
            # A daemon: it watches over Python's own shutdown too, which waits for other threads.
            threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def hurry(self) -> None:
        """End children now, and shorten the limit."""
        self.begin()
        self._hurried.set()
        self._kill()

    def _watch(self) -> None:
        if self._hurried.wait(self._limit_s):
            # Not a wait for an event: nothing but the end of this process ends it.
            threading.Event().wait(min(HURRIED_LIMIT_S, self._limit_s))
        self._kill()
        self._force(self._exit_code)

    def _kill(self) -> None:
        for kill in self.kills:
            with contextlib.suppress(Exception):  # of children that are about to end by themselves
                kill()

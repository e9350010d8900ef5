"""ForkSignals: signals in processes that user code forks from a pipeline process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

_DEFAULTS: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class ForkSignals:
    """Restores in forked processes what a script would have inherited, where user code has not chosen otherwise.

    A forked process shares the descriptor through which a signal wakes the event loop of its parent: without this, a
    SIGTERM to it would stop its parent, and not itself.
    """

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        """`numbers`: signals that the event loop handles now."""
        self._numbers = numbers
        self._ours = signal.getsignal(numbers[0])
        self._masks: dict[int, set[int]] = {}  # of threads that fork: a signal may come before the handler is restored
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._restore)

    def _hold(self) -> None:
        self._masks[threading.get_ident()] = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers))

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(threading.get_ident()))

    def _restore(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            if signal.getsignal(number) is self._ours:
                signal.signal(number, _DEFAULTS[number])
        self._release()

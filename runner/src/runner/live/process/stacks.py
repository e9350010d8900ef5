"""StackPrinter: where the threads of a pipeline process are, printed when the host asks by a signal.

`faulthandler` can print the stacks of all threads from a signal handler, but reads frames that other threads change at
that moment, and now and then crashes the process. So it only wakes a thread, which prints them with the interpreter's
lock held. Where native code never lets go of that lock, no other thread runs, so that `faulthandler` is safe.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

ASK_SIGNAL = signal.SIGUSR1
INSIST_SIGNAL = signal.SIGUSR2  # `faulthandler` is to print by itself
DEEPEST = 100  # frames of a thread that are printed; as many as `faulthandler` prints
_STDERR = 2


def register_faulthandler() -> None:
    """Have `faulthandler` print stacks after a crash in native code, and at either signal."""
    faulthandler.enable()
    for number in (ASK_SIGNAL, INSIST_SIGNAL):
        faulthandler.register(number, all_threads=True)


class StackPrinter:
    """Answers `ASK_SIGNAL` from the thread that calls `answer`.

    Attributes:
        wake: a descriptor that becomes readable when the host asks.
    """

    def __init__(self) -> None:
        self.wake, self._asking = os.pipe()
        for descriptor in (self.wake, self._asking):
            os.set_blocking(descriptor, False)
        # Of its own thread alone, into the pipe: what it writes there only wakes.
        faulthandler.register(ASK_SIGNAL, file=self._asking, all_threads=False)

    def answer(self) -> None:
        """Print all stacks to standard error, if the host has asked."""
        asked = False
        with suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                asked = True
        if asked:
            text = "\n".join(_stacks()) + "\n"
            with suppress(OSError):
                os.write(_STDERR, text.encode("utf-8", "backslashreplace"))


def _stacks() -> Iterator[str]:
    """As `faulthandler` has them: the main thread last, the innermost frame of each first."""
    main = threading.main_thread().ident
    frames = sys._current_frames()
    for ident, frame in sorted(frames.items(), key=lambda item: item[0] == main):
        head = "Current thread" if ident == main else "Thread"
        yield f"{head} {ident:#018x} (most recent call first):"
        yield from _frames(frame)


def _frames(frame: FrameType | None) -> Iterator[str]:
    for _ in range(DEEPEST):
        if frame is None:
            return
        yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
        frame = frame.f_back
    if frame is not None:
        yield "  ..."

"""Runs one coroutine to its end, or until a signal asks to stop; what it has opened is closed either way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .failure import Interrupted

T = TypeVar("T")

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP is not there on Windows


def run_until_signal(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`; the first Ctrl-C, SIGTERM or SIGHUP cancels it, a second one is not held back any more.

    Raises:
        Interrupted: a signal ended it; `main` has cleaned up.
    """
    received: list[int] = []

    async def guarded() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            received.append(number)
            loop.remove_signal_handler(number)
            task.cancel()

        for name in _NAMES:
            number = getattr(signal, name, None)
            # Handlers on the loop exist on Unix alone; elsewhere Ctrl-C is asyncio.run's own matter.
            if number is not None and hasattr(loop, "add_signal_handler") and not _is_windows():
                loop.add_signal_handler(number, stop, number)
        return await main

    try:
        result = asyncio.run(guarded())
    except asyncio.CancelledError:
        if not received:
            raise
    except KeyboardInterrupt:
        received.append(signal.SIGINT)
    if received:  # also when `main` took the cancellation for an orderly end, as Textual does
        raise Interrupted(received[0])
    return result


@contextmanager
def interruptible() -> Iterator[None]:
    """While it is open, Ctrl-C, SIGTERM and SIGHUP raise where the code is, so that it cleans up on its way out.

    Raises:
        Interrupted: a signal came.
    """

    def stop(number: int, _frame: object) -> None:
        raise Interrupted(number)

    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_windows() -> bool:
    import os

    return os.name == "nt"

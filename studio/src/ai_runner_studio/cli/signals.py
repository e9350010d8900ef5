"""Runs one coroutine to its end, or until a signal asks to stop; what it has opened is closed either way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..ending import Ending
from ..interruption import ENDING_SIGNALS, Interrupted

T = TypeVar("T")


def run_until_signal(main: Coroutine[Any, Any, T], ending: Ending | None = None) -> T:
    """Run `main`; the first Ctrl-C, SIGTERM or SIGHUP cancels it, a second one is not held back any more.

    Args:
        ending: of this process. Once it has begun, a signal does not cancel `main`, which cleans up, but hurries it.

    Raises:
        Interrupted: a signal ended it; `main` has cleaned up.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}

    async def guarded() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            if ending is not None and ending.begun:
                ending.hurry()
                return
            received.append(number)
            if ending is not None:
                ending.begin(128 + number)
            else:
                loop.remove_signal_handler(number)
            task.cancel()

        # Handlers on the loop exist on Unix alone; elsewhere Ctrl-C is asyncio.run's own matter.
        if not _is_windows():
            for number in ENDING_SIGNALS:
                loop.add_signal_handler(number, stop, number)
        return await main

    try:
        result = asyncio.run(guarded())
    except asyncio.CancelledError:
        if not received:
            raise
    except KeyboardInterrupt:
        received.append(signal.SIGINT)
    finally:
        for number, handler in before.items():  # a loop that ends leaves the system's own
            signal.signal(number, handler)
    if received:  # also when `main` took the cancellation for an orderly end, as Textual does
        raise Interrupted(received[0])
    return result


def _is_windows() -> bool:
    import os

    return os.name == "nt"

"""The clock of a running event loop, moved forward by a test, and a port that is reserved for a server that restarts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class LoopClock:
    """The running event loop's clock: every limit and pause in the loop sees the time that `move` adds.

    Limits keep the values that they have in production: real time never reaches them, however busy the machine is.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._ahead_s = 0.0

    def __enter__(self) -> LoopClock:
        self._loop.time = self._time  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.time = self._real  # type: ignore[method-assign]

    def move(self, seconds: float) -> None:
        """Fire the timers of the next `seconds`, at the next turn of the loop."""
        self._ahead_s += seconds

    def _time(self) -> float:
        return self._real() + self._ahead_s


@contextmanager
def kept_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1 for servers that listen on it one after another.

    Without it, the kernel may assign the port to any other socket while its server restarts.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]

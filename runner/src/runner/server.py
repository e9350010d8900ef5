"""AppServer: uvicorn, ended in order and in time for an orchestrator (contract 3.3: 8 s)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from .errors import RunnerError
from .pipelines.live_video_to_video import LiveVideoToVideoPipeline

ENDED_WITHIN_S = 6.8

logger = logging.getLogger(__name__)


class ListenError(RunnerError):
    """The address to serve on cannot be had."""


class AppServer(uvicorn.Server):
    """Serves one pipeline until it is asked to end, or until the pipeline has failed for good.

    Attributes:
        exit_code: for the process: 1 if the pipeline has failed, so that a container's restart policy acts.
    """

    def __init__(self, config: uvicorn.Config, pipeline: LiveVideoToVideoPipeline, last: Callable[[], None]) -> None:
        """`last`: called before the process is ended by force."""
        super().__init__(config)
        self.exit_code = 0
        self._pipeline = pipeline
        self._last = last
        self._ending: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        watching = asyncio.create_task(self._watch_pipeline())
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours alone: uvicorn's own way raises them again afterwards, and the exit code would be the signal's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._asked, number.name)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _asked(self, why: str) -> None:
        if self._ending is None:
            logger.info("shutting down (%s)", why)
            self._end()

    def _end(self) -> None:
        threading.Thread(target=self._end_for_sure, name="end", daemon=True).start()
        self._ending = asyncio.create_task(self._pipeline.close())  # meanwhile requests come to their ends
        self.should_exit = True

    async def _watch_pipeline(self) -> None:
        await self._pipeline.failed.wait()
        logger.error("the pipeline has failed for good: this process ends with exit code 1")
        self.exit_code = 1
        if self._ending is None:
            self._end()

    def _end_for_sure(self) -> None:
        time.sleep(ENDED_WITHIN_S)
        self._pipeline.kill()
        self._last()
        os._exit(1)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        ListenError: it cannot be had; says what to do.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f"cannot listen on '{host}': {_reason(error)}; --host takes an address, e.g. 0.0.0.0"
        ) from error
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        way_out = ""
        if error.errno == errno.EADDRINUSE:
            way_out = "; --port (or PORT) takes another one, 0 a free one"
        elif error.errno in (errno.EACCES, errno.EPERM):
            way_out = "; ports from 1024 on need no rights"
        raise ListenError(f"cannot listen on {host}, port {port}: {_reason(error)}{way_out}") from error
    listening.setblocking(False)
    return listening


def url(listening: socket.socket) -> str:
    """Where a listening socket is reached."""
    address: Any = listening.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)

"""MainThread and PipelineEventLoop: where the code of a pipeline process runs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from ..pipelines.worker_call import without_control_flow

_MOST_TURNS = 64
_LENT_AFTER_S = 0.002  # of a call, in which the event loop is not missed

T = TypeVar("T")


class PipelineEventLoop(asyncio.SelectorEventLoop):
    """Runs user code.

    A `StopIteration` that leaves a function in an executor (`run_in_executor`, `asyncio.to_thread`) cannot be set on
    the future that is awaited: before Python 3.12 the caller waits forever. Here it fails as in a coroutine.

    Attributes:
        script_thread: runs synchronous user code; see `worker_call.script_thread`.
    """

    script_thread: Executor

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return super().run_in_executor(executor, partial(without_control_flow, func), *args)

    async def settle(self) -> None:
        """Let tasks run until all of them wait for input, a time or a thread; not for those that never do."""
        for _ in range(_MOST_TURNS):
            if not self._ready:  # type: ignore[attr-defined]
                return
            await asyncio.sleep(0)


class MainThread(Executor):
    """The main thread of the process: runs the event loop and, as its executor, synchronous user code.

    Such code finds itself where it would be in a script: on the main thread, with no event loop running in it.
    Meanwhile another thread runs the loop. When a call returns, the main thread takes the loop back first, so that
    coroutines run on the main thread as well, unless they have something to do during a call.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """`on_error`: gets what user code has raised out of the event loop, which is resumed."""
        self.loop = PipelineEventLoop()
        self.loop.script_thread = self
        self._on_error = on_error
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._has_loop = True
        self._offers: list[None] = []  # of the loop, at most one: whoever takes it runs the loop
        self._called, self._returned, self._given_back = threading.Event(), threading.Event(), threading.Event()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call this on the main thread. From the event loop only."""
        future: Future[T] = Future()
        self._calls.append((future, partial(fn, *args, **kwargs)))
        self._stop_loop()
        return future

    def run(self) -> None:
        """Run the event loop and calls, forever."""
        threading.Thread(target=self._run_lent, name="event loop", daemon=True).start()
        while True:
            try:
                self._take_back()
                self._run_loop(until=lambda: bool(self._calls))
                self._call(*self._calls.popleft())
            except BaseException as error:  # of a signal handler, which may raise anywhere
                self._on_error(error)

    def _call(self, future: Future[T], call: Callable[[], T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._offer_loop()
        try:
            result = call()
        except BaseException as error:
            self._take_back()
            future.set_exception(error)
        else:
            self._take_back()
            future.set_result(result)

    def _offer_loop(self) -> None:
        self._returned.clear()
        self._given_back.clear()
        self._has_loop = False
        self._offers.append(None)
        self._called.set()

    def _take_back(self) -> None:
        self._called.clear()
        self._returned.set()
        while not self._has_loop:
            try:
                if not self._take_offer():
                    self.loop.call_soon_threadsafe(self.loop.stop)
                    self._given_back.wait()
                self._has_loop = True
            except BaseException as error:
                self._on_error(error)

    def _take_offer(self) -> bool:
        try:
            self._offers.pop()
        except IndexError:
            return False
        return True

    def _run_lent(self) -> None:
        while True:
            self._called.wait()
            # Mostly the call returns before: handing the loop over and back costs more than it.
            if not self._returned.wait(_LENT_AFTER_S) and self._take_offer():
                self._run_loop(until=lambda: not self._called.is_set())
                self._given_back.set()

    def _run_loop(self, until: Callable[[], bool]) -> None:
        """Run the event loop until it is stopped for this reason; user code may stop it for others."""
        while not until():
            try:
                self.loop.run_forever()
            except BaseException as error:  # `SystemExit` and `KeyboardInterrupt` of tasks and callbacks
                self._on_error(error)

    def _stop_loop(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.loop.stop()

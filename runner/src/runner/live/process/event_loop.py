"""PipelineEventLoop: the event loop of a pipeline process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from ..pipelines.worker_call import without_control_flow

T = TypeVar("T")


class PipelineEventLoop(asyncio.SelectorEventLoop):
    """Runs user code.

    A `StopIteration` that leaves a function in an executor (`run_in_executor`, `asyncio.to_thread`) cannot be set on
    the future that is awaited: before Python 3.12 the caller waits forever. Here it fails as in a coroutine.
    """

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return super().run_in_executor(executor, partial(without_control_flow, func), *args)

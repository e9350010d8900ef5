"""Calls of user code in a worker thread that behave like calls on the spot."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def script_thread() -> Executor:
    """Return the executor of synchronous user code.

    In a pipeline process, that of its event loop: the thread on which modules are imported and pipelines made, because
    much of what these set (numerical modes, default devices, connections) holds for one thread. Elsewhere a new thread.
    """
    thread = getattr(asyncio.get_running_loop(), "script_thread", None)
    return thread if isinstance(thread, Executor) else ThreadPoolExecutor(1, thread_name_prefix="transform")


async def call_in_worker(worker: Executor, call: Callable[[], T]) -> T:
    """Return what `call` returns in a thread of `worker`.

    It sees the context variables of the caller, who then sees what it has set. See also `without_control_flow`.
    """
    context = contextvars.copy_context()
    try:
        return await asyncio.get_running_loop().run_in_executor(
            worker, partial(context.run, without_control_flow, call)
        )
    finally:
        _take_over(context)


def _take_over(context: contextvars.Context) -> None:
    """Set what differs in `context` in the current one."""
    current = contextvars.copy_context()
    for variable, value in context.items():
        if variable not in current or current[variable] is not value:
            variable.set(value)


def without_control_flow(call: Callable[..., T], *arguments: object) -> T:
    """Call this; what controls generators and coroutines becomes a `RuntimeError` that it is the cause of.

    A `StopIteration` cannot be set on a future. A `GeneratorExit`, thrown into the coroutine that awaits, closes it.
    """
    try:
        return call(*arguments)
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"worker raised {type(error).__name__}") from error

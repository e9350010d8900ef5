"""Census: every function object made from given code, and every place where that code is being executed."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType, MethodType
from typing import Any, TypeAlias

_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_Suspended: TypeAlias = "GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any] | AsyncGeneratorType[Any, Any]"
_KINDS = frozenset({FunctionType, MethodType, *_SUSPENDED})


class Census:
    """Looks through all objects of the process once.

    Args:
        codes: the code objects that matter.
        own_tasks: tasks whose suspended calls do not matter.
    """

    def __init__(self, codes: Iterable[CodeType], own_tasks: Collection[asyncio.Task[Any]]) -> None:
        self._known = {id(code): code for code in codes}
        self._functions: dict[int, list[FunctionType]] = defaultdict(list)
        self._running: set[int] = set()
        self._methods: list[MethodType] = []
        own = {id(one) for task in own_tasks for one in _awaited(task.get_coro())}
        for found in _objects():
            if isinstance(found, FunctionType):
                if id(found.__code__) in self._known:
                    self._functions[id(found.__code__)].append(found)
            elif isinstance(found, MethodType):
                self._methods.append(found)
            elif id(found) not in own and _is_unfinished(found):
                self._running.add(id(_code_of(found)))
        for frame in _other_threads():
            self._running.update(_codes_on(frame))

    def functions(self, code: CodeType) -> list[FunctionType]:
        """Every function object that runs this code."""
        return self._functions.get(id(code), [])

    def is_running(self, code: CodeType) -> bool:
        """Whether a call of it has begun, in another thread or a suspended coroutine or generator, and would go on."""
        return id(code) in self._running

    def has_bound_method(self, function: FunctionType) -> bool:
        return any(method.__func__ is function for method in self._methods)


def _objects() -> list[Any]:
    frozen = gc.get_freeze_count() > 0
    if frozen:  # what the user's code has frozen is not listed otherwise
        gc.unfreeze()
    try:
        return [one for one in gc.get_objects() if type(one) in _KINDS]
    finally:
        if frozen:
            gc.freeze()


def _code_of(suspended: _Suspended) -> CodeType:
    if isinstance(suspended, GeneratorType):
        return suspended.gi_code
    return suspended.cr_code if isinstance(suspended, CoroutineType) else suspended.ag_code


def _is_unfinished(suspended: _Suspended) -> bool:
    """One that has not begun yet counts too: it has its code already. One that runs now is seen on its thread."""
    if isinstance(suspended, GeneratorType):
        return suspended.gi_frame is not None and not suspended.gi_running
    if isinstance(suspended, CoroutineType):
        return suspended.cr_frame is not None and not suspended.cr_running
    return suspended.ag_frame is not None and not suspended.ag_running


def _awaited(coroutine: Any) -> list[Any]:
    """A coroutine, what it awaits, and so on."""
    chain = []
    while coroutine is not None and coroutine not in chain:
        chain.append(coroutine)
        waits_for = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        coroutine = waits_for or getattr(coroutine, "ag_await", None)
    return chain


def _other_threads() -> list[FrameType]:
    return [frame for thread, frame in sys._current_frames().items() if thread != threading.get_ident()]


def _codes_on(frame: FrameType | None) -> Iterable[int]:
    while frame is not None:
        yield id(frame.f_code)
        frame = frame.f_back

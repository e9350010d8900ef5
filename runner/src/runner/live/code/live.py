"""Live objects: the user's classes and functions in this process, and who else holds their code."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..report import is_user_file

_MOST = 200  # objects looked at behind one name


def user_objects(pipeline: object) -> list[object]:
    """The objects that hold the user's code: the pipeline, or what a `TransformPipeline` was made from."""
    target = getattr(type(pipeline), "target", None)
    if target is None:
        return [pipeline]
    instance = getattr(pipeline, "_instance", None)
    return [pipeline, instance if instance is not None else target]


def namespace(module: str, owner: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The names of a module, or of a class in it; None if that class is not found there any more."""
    if not owner:
        found = sys.modules.get(module)
        return vars(found) if isinstance(found, ModuleType) else None
    of = live_class(module, owner)
    return None if of is None else vars(of)


def live_class(module: str, path: tuple[str, ...]) -> type | None:
    """The class at a path of names, if it is still the one that was defined under it."""
    found = sys.modules.get(module)
    names: Mapping[str, Any] = vars(found) if isinstance(found, ModuleType) else {}
    of: object = None
    for name in path:
        of = names.get(name)
        if not isinstance(of, type):
            return None
        names = vars(of)
    if not isinstance(of, type) or of.__module__ != module or of.__qualname__ != ".".join(path):
        return None
    return of


def mangled(owner: tuple[str, ...], name: str) -> str:
    """The name as the class has it: ``__x`` of class Net is ``_Net__x``."""
    if owner and name.startswith("__") and not name.endswith("__"):
        return f"_{owner[-1].lstrip('_')}{name}"
    return name


def functions_of(value: object, code: CodeType) -> list[FunctionType]:
    """Function objects with this code that `value` is or passes its calls on to, through Python's own wrappers."""
    found: dict[int, FunctionType] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType) and one.__code__ is code:
            found[id(one)] = one
        waiting.extend(_inside(one))
    return list(found.values())


def _inside(value: object) -> list[object]:
    match value:
        case FunctionType():
            return [vars(value).get("__wrapped__"), *_cells(value)]
        case staticmethod() | classmethod() | MethodType():
            return [value.__func__]
        case property():
            return [value.fget, value.fset, value.fdel]
        case functools.partial() | functools.partialmethod() | functools.cached_property():
            return [value.func]
    if is_users_class(type(value)):  # a decorator that is a class
        return [*getattr(value, "__dict__", {}).values()]
    return []


def _cells(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not set yet
            continue


def is_users_class(of: type) -> bool:
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return isinstance(file, str) and is_user_file(file)


def other_holders(code: CodeType, known: int) -> int:
    """How many objects refer to a code object besides `known` ones: other functions, calls under way, compilers.

    Args:
        code: the caller's own variable counts as one of the `known`.
    """
    return sys.getrefcount(code) - _OWN_REFERENCES - known


def _own_references() -> int:
    """References that a call of `other_holders` makes itself, which differ from one Python to the next."""
    made = compile("0", "", "exec")
    return _count(made) - 1


def _count(code: CodeType) -> int:
    return sys.getrefcount(code)


def _suspended_references() -> int:
    """References that a suspended generator or coroutine holds to its code."""

    def suspended() -> Iterator[None]:
        yield

    before = _count(suspended.__code__)
    waiting = suspended()
    next(waiting)
    return _count(suspended.__code__) - before


_OWN_REFERENCES = _own_references()
_SUSPENDED_REFERENCES = _suspended_references()


def forget_tracebacks() -> None:
    """Free recent exceptions that are part of a cycle: their frames hold on to the code that raised them."""
    gc.collect(1)


def suspended_in(coroutines: Iterable[Any], code: CodeType) -> int:
    """References to this code from these coroutines and what they await, as `other_holders` counts them."""
    count = 0
    for coroutine in coroutines:
        one = coroutine
        while one is not None:
            count += getattr(one, "cr_code", None) is code or getattr(one, "gi_code", None) is code
            one = getattr(one, "cr_await", None) or getattr(one, "gi_yieldfrom", None)
    return count * _SUSPENDED_REFERENCES

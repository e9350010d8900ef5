"""Live objects: the classes, functions and instances of the user's that are in this process."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from ..report import is_user_file
from .program import Class, Program

_MOST = 2000  # objects looked at below one attribute
_CALLABLES = (FunctionType, MethodType, functools.partial)


def user_objects(pipeline: object) -> list[object]:
    """The objects that hold the user's code: the pipeline itself, or what its `TransformPipeline` was made for."""
    target = getattr(type(pipeline), "target", None)
    if target is None:
        return [pipeline]
    instance = getattr(pipeline, "_instance", None)
    return [pipeline, instance if instance is not None else target]


def namespace(module: str, owner: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The names of a module, or of a class in it; None if there is no such class any more."""
    if not owner:
        found = sys.modules.get(module)
        return vars(found) if isinstance(found, ModuleType) else None
    of = live_class(module, owner)
    return None if of is None else vars(of)


def live_class(module: str, path: tuple[str, ...]) -> type | None:
    """The class that a path of names leads to, if it is still the one that was defined under it."""
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


def functions_in(value: object) -> Iterator[FunctionType]:
    """The functions that an object is, or passes its calls on to, as far as Python's own wrappers go.

    What a compiler has made of a function is not looked into: new code would not reach it.
    """
    seen: set[int] = set()
    waiting = [value]
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            yield one
            waiting.append(vars(one).get("__wrapped__"))
            waiting.extend(_contents(one))
        else:
            waiting.extend(_inside(one))


def _contents(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not set yet
            continue


def _inside(value: object) -> list[object]:
    match value:
        case staticmethod() | classmethod() | MethodType():
            return [value.__func__]
        case property():
            return [value.fget, value.fset, value.fdel]
        case functools.partial() | functools.partialmethod() | functools.cached_property():
            return [value.func]
    if type(value) is functools._lru_cache_wrapper:
        return [value.__wrapped__]
    if is_users_class(type(value)):  # a decorator that is a class
        return [*getattr(value, "__dict__", {}).values()]
    return []


def is_users_class(of: type) -> bool:
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return isinstance(file, str) and is_user_file(file)


class LiveGraph:
    """Answers the questions of `Reach` by looking at the instances that are there."""

    def __init__(self, program: Program, pipeline: object) -> None:
        self._classes = {(one.module, one.name): one for one in program.classes}
        self._modules = tuple(program.modules)
        self._pipeline = pipeline
        self._attributes: dict[str, set[Class] | None] | None = None

    def attribute_types(self, name: str) -> set[Class] | None:
        if self._attributes is None:
            self._attributes = self._look()
        return self._attributes.get(name)

    def variable_types(self, module: str, name: str) -> set[Class] | None:
        names = namespace(module, ())
        return None if names is None or name not in names else self._types(names[name])

    def overrides(self, of: Class) -> set[str]:
        live = live_class(of.module, tuple(of.name.split(".")))
        if live is None:
            return set(of.methods)
        names: set[str] = set()
        for base in live.__mro__[1:]:
            if base is not object and not is_users_class(base) and not _is_runners(base):
                names.update(vars(base))
        return names & set(of.methods)

    def class_of(self, value: object) -> Class | None:
        """The user's class that an object is an instance of."""
        for of in type(value).__mro__:
            found = self._classes.get((of.__module__, of.__qualname__))
            if found is not None:
                return found
        return None

    def holds_results(self, module: str, owner: tuple[str, ...], name: str) -> bool:
        """Whether a caching function has anything in its cache; True if that cannot be told."""
        value = (namespace(module, owner) or {}).get(mangled(owner, name))
        value = getattr(value, "__func__", value)
        info: Callable[[], Any] | None = getattr(value, "cache_info", None)
        return info is None or info().currsize > 0

    def _look(self) -> dict[str, set[Class] | None]:
        """Attribute -> classes of what instances of the user's classes have there."""
        found: dict[str, set[Class] | None] = {}
        waiting: list[object] = [*user_objects(self._pipeline)]
        for module in self._modules:
            waiting.extend((namespace(module, ()) or {}).values())
        seen: set[int] = set()
        while waiting and len(seen) < _MOST:
            one = waiting.pop()
            if id(one) in seen or self.class_of(one) is None or isinstance(one, type):
                continue
            seen.add(id(one))
            for name, value in {**_attributes(one), **_attributes(one).get("_modules", {})}.items():
                types = self._types(value)
                before = found.get(name, set())
                found[name] = None if types is None or before is None else before | types
                waiting.extend(part for part in _parts(value) if self.class_of(part) is not None)
        return found

    def _types(self, value: object) -> set[Class] | None:
        """The user's classes whose instances are in `value`; None if a function of theirs is, or it is too much."""
        found: set[Class] = set()
        for count, part in enumerate(_parts(value), 1):
            if count == _MOST or (isinstance(part, _CALLABLES) and _is_users_function(part)):
                return None
            of = self.class_of(part)
            if of is not None and not isinstance(part, type):
                found.add(of)
        return found


def _parts(value: object) -> Iterator[object]:
    """An object and what is in it, at any depth."""
    seen: set[int] = set()
    waiting = [value]
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (str, bytes, int, float, complex, type, ModuleType)):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, (list, tuple, set, frozenset)):
            waiting.extend(one)
        elif isinstance(one, (dict, MappingProxyType)):
            waiting.extend(one.values())
        elif not isinstance(one, _CALLABLES):
            waiting.extend(_attributes(one).values())


def _attributes(value: object) -> dict[str, Any]:
    found = getattr(value, "__dict__", None)
    return found if isinstance(found, dict) else {}


def _is_users_function(value: Any) -> bool:
    return any(is_user_file(function.__code__.co_filename) for function in functions_in(value))


def _is_runners(of: type) -> bool:
    return of.__module__.partition(".")[0] in ("runner", "app", "abc", "typing")

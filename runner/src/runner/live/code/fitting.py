"""Fitting: which live function objects get which code, and whether they can take it."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from types import CellType, CodeType, FunctionType
from typing import Any

from .census import Census
from .change import FunctionChange, ModuleChange
from .live import functions_in, live_class, mangled, namespace
from .newcomer import is_wrapper
from .outline import FUNCTIONS, docstring, first_line
from .pairs import CodePairs, Nested, own_code, pair_codes
from .refusal import PatchBusy, PatchRefused
from .signature import Defaults, Given, Kept, annotations_of, new_defaults, parameters, same_annotations
from .source import Executed


@dataclass(slots=True)
class Refit:
    """New code for one function object.

    Attributes:
        values: new ``__defaults__`` and ``__kwdefaults__``; None if they stay.
        annotations: new ones, not evaluated; None if they stay.
    """

    function: FunctionType
    code: CodeType
    values: tuple[tuple[Any, ...] | None, dict[str, Any] | None] | None = None
    annotations: dict[str, ast.expr] | None = None


@dataclass(slots=True)
class Replacement:
    """A new function object in a class, for a method that begins to use its class (``super()``)."""

    of: type
    name: str
    raw: Any
    refit: Refit


@dataclass(slots=True)
class Fit:
    """All that is done to the functions of one module; `executed` holds the code that they get."""

    change: ModuleChange
    executed: Executed
    refits: list[Refit] = field(default_factory=list)
    replacements: list[Replacement] = field(default_factory=list)


def fit_functions(
    changes: Iterable[tuple[ModuleChange, Executed, Executed]], own_tasks: Collection[asyncio.Task[Any]]
) -> list[Fit]:
    """Find the live functions of changed modules, given with what runs and what would.

    Raises:
        PatchRefused: a changed function cannot be found or cannot take its new code.
        PatchBusy: one is being executed.
    """
    known = [(change, old, new, pair_codes(change, old.code, new.code)) for change, old, new in changes]
    census = Census((code for item in known for code in _old_codes(item[0], item[1], item[3])), own_tasks)
    fits = []
    for change, old, new, pairs in known:
        padded = _padded(new, _missing_variables(pairs))
        if padded is not new:
            pairs = pair_codes(change, old.code, padded.code)
        fitting = _Fitting(Fit(change, padded), old, census)
        fitting.functions(pairs)
        fits.append(fitting.fit)
    return fits


def _old_codes(change: ModuleChange, old: Executed, pairs: CodePairs) -> list[CodeType]:
    codes = [code for _, code, _ in pairs.functions]
    codes += [nested.old for nested in pairs.nested]
    codes += [code for code, _ in pairs.plain]
    codes += [code for bodies, _ in pairs.bodies for code in bodies]
    codes += [code for item in change.removed if (code := own_code(old.code, item.place.owner, item.unit))]
    return codes


def _missing_variables(pairs: CodePairs) -> dict[tuple[str, int], tuple[str, ...]]:
    """(name, first line) of functions that use fewer variables from around them than before -> those that are missing.

    A function object keeps its cells, and its code must know of each.
    """
    both = [(old, new) for _, old, new in pairs.functions]
    both += [(nested.old, nested.new) for nested in pairs.nested if nested.new is not None]
    missing = {}
    for old, new in both:
        if set(new.co_freevars) < set(old.co_freevars):
            missing[new.co_name, new.co_firstlineno] = tuple(set(old.co_freevars) - set(new.co_freevars))
    return missing


def _kind(code: CodeType) -> int:
    """Plain function, generator, coroutine or asynchronous generator: a function object does not change it."""
    return code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)


def _padded(new: Executed, missing: dict[tuple[str, int], tuple[str, ...]]) -> Executed:
    """The same with a mention of the missing variables, never executed, at the beginning of these functions."""
    if not missing:
        return new
    tree = ast.parse(new.content, new.filename)
    for node in ast.walk(tree):
        names = missing.get((node.name, first_line(node))) if isinstance(node, FUNCTIONS) else None
        if names and isinstance(node, FUNCTIONS):
            dead = ast.parse(f"if 0: ({', '.join(names)},)").body[0]
            node.body.insert(0 if docstring(node.body) is None else 1, ast.increment_lineno(dead, first_line(node) - 1))
    code = compile(tree, new.filename, "exec", dont_inherit=True)
    return replace(new, code=code)


class _Fitting:
    def __init__(self, fit: Fit, old: Executed, census: Census) -> None:
        self.fit = fit
        self._old = old
        self._census = census

    def functions(self, pairs: CodePairs) -> None:
        for item, old, new in pairs.functions:
            self._function(item, old, new)
        for nested in pairs.nested:
            self._nested(nested)
        for old, new in pairs.plain:
            self._refit(self._census.functions(old), new)
        for codes, outer in pairs.bodies:
            if any(self._census.functions(code) for code in codes):
                raise self._refused(f"a class made by {outer} is still in use, and its body has changed")
        for gone in self.fit.change.removed:
            code = own_code(self._old.code, gone.place.owner, gone.unit)
            if code is not None and self._census.is_running(code):
                raise PatchBusy(f"{gone.place.path}() is running right now, and is gone", self.fit.change.path)

    def _function(self, item: FunctionChange, old: CodeType, new: CodeType) -> None:
        named = self._by_name(item, old)
        found = list({id(one): one for one in (*named, *self._census.functions(old))}.values())
        title = f"{item.place.path}()"
        if item.changed and not named:
            raise self._refused(f"{title} cannot be found in the running process", item.new.lineno)
        if item.changed and self._census.is_running(old):
            raise PatchBusy(f"{title} is running right now", self.fit.change.path, item.new.lineno)
        if parameters(item.old) != parameters(item.new):
            self._check_decorators(item, title)
        if found and _kind(old) != _kind(new):
            raise self._refused(f"{title} is another kind of function now", item.new.lineno)
        if new.co_freevars != old.co_freevars:
            self._replace(item, found, new)
            return
        for function in found:
            self._change(item, self._refit([function], new)[0])

    def _by_name(self, item: FunctionChange, old: CodeType) -> list[FunctionType]:
        place = item.place
        names = namespace(place.module, place.owner) or {}
        value = names.get(mangled(place.owner, place.name))
        return [function for function in functions_in(value) if function.__code__ is old]

    def _check_decorators(self, item: FunctionChange, title: str) -> None:
        for decorator in item.old.decorator_list:
            if not is_wrapper(decorator, self.fit.change.old):
                reason = (
                    f"the parameters of {title} have changed, and @{ast.unparse(decorator)} may have looked at them"
                )
                raise self._refused(reason, item.new.lineno)

    def _refit(self, functions: Iterable[FunctionType], code: CodeType) -> list[Refit]:
        made = [Refit(function, code) for function in functions]
        self.fit.refits.extend(made)
        return made

    def _change(self, item: FunctionChange, refit: Refit) -> None:
        defaults = new_defaults(item.old, item.new)
        if defaults is not None:
            refit.values = self._values(item, refit.function, defaults)
        if not same_annotations(item.old, item.new):
            refit.annotations = annotations_of(item.new)

    def _values(
        self, item: FunctionChange, function: FunctionType, defaults: Defaults
    ) -> tuple[tuple[Any, ...] | None, dict[str, Any] | None]:
        """Those that stay are taken from the function, wherever its parameters stand now."""
        given = function.__defaults__ or ()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        current = dict(zip(names[len(names) - len(given) :], given, strict=True)) | (function.__kwdefaults__ or {})

        def value(of: Kept | Given) -> Any:
            if isinstance(of, Given):
                return of.value
            if of.name not in current:
                reason = f"the defaults of {item.place.path}() have been changed while it runs"
                raise self._refused(reason, item.new.lineno)
            return current[of.name]

        positional = tuple(map(value, defaults.positional))
        keyword = {name: value(of) for name, of in defaults.keyword.items()}
        return positional or None, keyword or None

    def _replace(self, item: FunctionChange, found: list[FunctionType], code: CodeType) -> None:
        """A method that begins to use ``super()``: there is no way to give a function object another cell."""
        place = item.place
        title = f"{place.path}()"
        of = live_class(place.module, place.owner) if place.owner else None
        name = mangled(place.owner, place.name)
        raw = vars(of).get(name) if of is not None else None
        function = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        if of is None or code.co_freevars != ("__class__",) or not isinstance(function, FunctionType):
            raise self._refused(f"{title} uses other variables of what is around it now", item.new.lineno)
        if [*found] != [function] or self._census.has_bound_method(function):
            raise self._refused(f"{title} begins to use super(), and is kept elsewhere too", item.new.lineno)
        made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, (CellType(of),))
        made.__kwdefaults__ = function.__kwdefaults__
        made.__annotations__ = dict(function.__annotations__)
        made.__qualname__, made.__module__ = function.__qualname__, function.__module__
        made.__dict__.update(function.__dict__)
        refit = Refit(made, code)
        # The parameters' names are those of the old code: what stays is looked up by them.
        old = Refit(function, function.__code__)
        self._change(item, old)
        refit.values, refit.annotations = old.values, old.annotations
        wrapped = type(raw)(made) if isinstance(raw, (staticmethod, classmethod)) else made
        self.fit.replacements.append(Replacement(of, name, wrapped, refit))

    def _nested(self, nested: Nested) -> None:
        found = self._census.functions(nested.old)
        if nested.changed and self._census.is_running(nested.old):
            raise PatchBusy(f"{nested.old.co_name} of {nested.outer} is running right now", self.fit.change.path)
        if not found:
            return
        title = f"{nested.old.co_name}() made by {nested.outer}"
        if nested.new is None:
            raise self._refused(f"{title} is still in use, and is gone")
        if _kind(nested.old) != _kind(nested.new):
            raise self._refused(f"{title} is still in use, and is another kind of function now")
        if not nested.same_call:
            raise self._refused(f"{title} is still in use, and its parameters have changed")
        if nested.new.co_freevars != nested.old.co_freevars:
            raise self._refused(f"{title} is still in use, and uses other variables of what is around it now")
        self._refit(found, nested.new)

    def _refused(self, reason: str, line: int = 0) -> PatchRefused:
        return PatchRefused(reason, self.fit.change.path, line)

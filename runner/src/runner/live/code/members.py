"""Members: whether names of live modules and classes can be added, removed, or set to other values."""

from __future__ import annotations

import ast
import sys
from abc import ABCMeta
from types import FunctionType
from typing import Any

from .change import FunctionChange, ModuleChange, Place, UnitChange
from .imports import importers, loads_anew
from .literal import same_value
from .live import functions_in, is_users_class, live_class, mangled, namespace, user_objects
from .newcomer import full_name, origins
from .outline import Unit
from .program import Class, Program
from .refusal import PatchRefused
from .signature import parameters

_REGISTERING = ("__init_subclass__", "__set_name__")


class Members:
    """Checks one module's change against what is live.

    Raises, in every method:
        PatchRefused: the process is not what the text that it was made from says, or cannot be changed so.
    """

    def __init__(self, change: ModuleChange, new: Program, pipeline: object) -> None:
        self._change = change
        self._new = new
        self._objects = user_objects(pipeline)

    def check(self) -> None:
        for function in self._change.functions:
            self._check_transform(function)
        for constant in self._change.constants:
            self._check_constant(constant.place, constant.unit, constant.old)
        for item in self._change.redone:
            if item.place.owner:
                self._check_value(item.place, item.unit)
        gone = {item.place for item in self._change.removed}
        for item in self._change.removed:
            self._check_removed(item)
        for item in self._change.added:
            self._check_added(item, again=item.place in gone)
        for owner, text in self._change.docs:
            if owner and text is None:
                self._check_undocumented(owner)

    def _check_transform(self, item: FunctionChange) -> None:
        """The runner has looked at the parameters of a transform, to know what to call it with."""
        if parameters(item.old) == parameters(item.new):
            return
        for value in self._objects:
            of = value if isinstance(value, FunctionType) else getattr(type(value), "transform", None)
            if (getattr(of, "__module__", ""), getattr(of, "__qualname__", "")) == (item.place.module, item.place.path):
                reason = f"the parameters of {item.place.name}() have changed"
                raise PatchRefused(reason, self._change.path, item.new.lineno)

    def _check_constant(self, place: Place, unit: Unit, value: Any) -> None:
        names = self._names(place.owner, unit.first_line)
        name = mangled(place.owner, place.name)
        if name not in names or not same_value(names[name], value):
            raise self._refused(f"{place.path} has been changed while it runs", unit)
        if place.owner:
            self._check_value(place, unit)
            return
        for module, alias in importers(self._new, place.module, place.name):
            found = self._new.modules[module]
            if alias in found.variables or alias in found.names:
                raise self._refused(f"{module} imports {place.name} and sets it, too", unit)
            current = (namespace(module, ()) or {}).get(alias, value)
            if not same_value(current, value):
                raise self._refused(f"{alias} of {module} has been changed while it runs", unit)

    def _check_value(self, place: Place, unit: Unit) -> None:
        """A value in a class: nothing may stand before it, and nothing have looked at it when the class was made."""
        of = self._plain_class(place, unit)
        for value in self._objects:
            if isinstance(value, of) and place.name in getattr(value, "__dict__", {}):
                raise self._refused(f"the pipeline has a {place.name} of its own", unit)
        for base in of.__mro__[1:]:
            if base is not object and not is_users_class(base) and place.name in vars(base):
                raise self._refused(f"{place.path} is looked at by {base.__name__}", unit)

    def _check_removed(self, item: UnitChange) -> None:
        place, unit = item.place, item.unit
        names = self._names(place.owner, unit.first_line)
        name = mangled(place.owner, place.name)
        if name not in names:
            raise self._refused(f"{place.path} has been removed while it runs", unit)
        if unit.kind == "function" and not self._is_from_here(names[name]):
            raise self._refused(f"{place.path}() has been replaced while it runs", unit)
        if not place.owner:
            target = [getattr(value, "__qualname__", "") for value in self._objects if isinstance(value, FunctionType)]
            if place.name in target:
                raise self._refused(f"{place.name}() is the pipeline", unit)
            return
        of = self._plain_class(place, unit)
        if name == "transform" and any(isinstance(value, of) for value in self._objects):
            raise self._refused(f"{place.path}() is the pipeline's", unit)
        if any(getattr(vars(base).get(name), "__isabstractmethod__", False) for base in of.__mro__[1:]):
            raise self._refused(f"{place.path}() is gone, and the class must have it", unit)

    def _check_added(self, item: UnitChange, *, again: bool) -> None:
        place, unit = item.place, item.unit
        if isinstance(unit.node, (ast.Import, ast.ImportFrom)):
            module = sys.modules[place.module]
            library = loads_anew(unit.node, getattr(module, "__package__", None) or "")
            if library:
                raise self._refused(f"'{ast.unparse(unit.node)}': {library} is not loaded in this process yet", unit)
            return
        names = self._names(place.owner, unit.first_line)
        is_part = unit.kind == "function" and bool(unit.key[2])
        if mangled(place.owner, place.name) in names and not again and not is_part:
            raise self._refused(f"{place.path} is new, and is there already", unit)
        if place.owner:
            self._plain_class(place, unit)
            if unit.kind == "assign":
                self._check_value(place, unit)
        elif isinstance(unit.node, ast.ClassDef):
            self._check_bases(place, unit)

    def _check_bases(self, place: Place, unit: Unit) -> None:
        found = self._new.by_node[id(unit.node)]
        assert isinstance(found, Class)
        for base in self._new.ancestors(found)[1:]:
            for name in _REGISTERING:
                if name in base.methods:
                    raise self._refused(f"class {place.path} is new, and {base.name}.{name}() is told of it", unit)
            live = live_class(base.module, tuple(base.name.split(".")))
            if live is not None and is_users_class(type(live)):
                raise self._refused(f"class {place.path} is new, and has the metaclass of {base.name}", unit)

    def _check_undocumented(self, owner: tuple[str, ...]) -> None:
        """Where there is no docstring, making the class may have written one."""
        of = self._class(owner, 0)
        node = next(one.node for one in self._new.classes if (one.module, one.name) == (of.__module__, of.__qualname__))
        if type(of) not in (type, ABCMeta) or node.decorator_list:
            raise PatchRefused(f"the docstring of class {of.__qualname__} is gone", self._change.path, node.lineno)

    # ---- what is live ----------------------------------------------------------------------

    def _names(self, owner: tuple[str, ...], line: int) -> Any:
        names = namespace(self._change.module, owner)
        if names is None:
            raise self._missing(owner, line)
        return names

    def _class(self, owner: tuple[str, ...], line: int) -> type:
        of = live_class(self._change.module, owner)
        if of is None:
            raise self._missing(owner, line)
        return of

    def _plain_class(self, place: Place, unit: Unit) -> type:
        """The class, if making it did nothing but collect its members."""
        of = self._class(place.owner, unit.first_line)
        if type(of) not in (type, ABCMeta):
            raise self._refused(f"{place.path} is new, changed or gone, and its class has a metaclass", unit)
        node = next(one.node for one in self._new.classes if (one.module, one.name) == self._key(place))
        for decorator in node.decorator_list:
            known = full_name(decorator, origins(self._change.new)) == "dataclasses.dataclass"
            if not known or unit.kind == "assign":
                raise self._refused(f"{place.path} is new, changed or gone, and its class has a decorator", unit)
        return of

    def _key(self, place: Place) -> tuple[str, str]:
        return place.module, ".".join(place.owner)

    def _is_from_here(self, value: object) -> bool:
        functions = list(functions_in(value))
        return any(function.__module__ == self._change.module for function in functions) or not functions

    def _missing(self, owner: tuple[str, ...], line: int) -> PatchRefused:
        path = ".".join(owner) or self._change.module
        return PatchRefused(f"class {path} cannot be found in the running process", self._change.path, line)

    def _refused(self, reason: str, unit: Unit) -> PatchRefused:
        return PatchRefused(reason, self._change.path, unit.node.lineno)

"""Change: how the new text of a module differs from the one that runs, or why that cannot be taken over."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from .literal import is_display, is_plain, plain_value
from .newcomer import check_new, is_wrapper
from .order import moved_units, uses_before_definition
from .outline import FunctionNode, Kind, Unit, bound_names, docstring, outline, typing_names
from .refusal import PatchRefused as PatchRefused
from .signature import UnclearDefaultError, new_defaults, parameters

_BECOMES: dict[Kind, str] = {
    "function": "a function",
    "class": "a class",
    "import": "an import",
    "assign": "a variable",
}
# What the interpreter looks at when a class is made, or treats in its own way then.
_MADE_WITH_THE_CLASS = frozenset(
    {"__new__", "__init_subclass__", "__class_getitem__", "__eq__", "__hash__", "__set_name__", "__del__", "__slots__"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a module: `owner` is the path of classes that it is in, empty at module level."""

    module: str
    owner: tuple[str, ...]
    name: str

    @property
    def path(self) -> str:
        return ".".join((*self.owner, self.name))


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """A function that is in both versions; `changed` if it does something else now than before."""

    place: Place
    old: FunctionNode
    new: FunctionNode
    changed: bool


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A statement that is new or gone."""

    place: Place
    unit: Unit


@dataclass(frozen=True, slots=True)
class ConstantChange:
    """A plain constant with another value."""

    place: Place
    unit: Unit
    old: Any
    new: Any


@dataclass(slots=True)
class ModuleChange:
    """All differences between two texts of one module.

    Attributes:
        functions: every function of both versions, also those that have only moved to other lines.
        pairs: every statement of both versions: owner, old, new.
        redone: changed assignments that the pipeline's reload hook takes care of.
        docs: docstrings of the module (empty owner) and of classes.
    """

    module: str
    path: str
    old: ast.Module
    new: ast.Module
    functions: list[FunctionChange] = field(default_factory=list)
    pairs: list[tuple[tuple[str, ...], Unit, Unit]] = field(default_factory=list)
    added: list[UnitChange] = field(default_factory=list)
    removed: list[UnitChange] = field(default_factory=list)
    constants: list[ConstantChange] = field(default_factory=list)
    redone: list[UnitChange] = field(default_factory=list)
    docs: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """What has changed, qualified, in the order of the new text."""
        found: dict[str, int] = {}
        for change in self.functions:
            if change.changed:
                found[change.place.path] = change.new.lineno
        for item in (*self.added, *self.removed, *self.redone):
            found.setdefault(item.place.path, item.unit.first_line)
        for constant in self.constants:
            found.setdefault(constant.place.path, constant.unit.first_line)
        return [f"{self.module}.{name}" for name in sorted(found, key=lambda name: found[name])]


def compare(module: str, path: str, old: ast.Module, new: ast.Module, *, hooked: bool = False) -> ModuleChange:
    """The differences between two versions of a module.

    Args:
        hooked: the pipeline has a reload hook, so changed assignments may be executed again.

    Raises:
        PatchRefused: some difference cannot be put into a running process, whoever uses it.
    """
    change = ModuleChange(module, path, old, new)
    _Comparison(change, hooked).bodies((), old.body, new.body)
    before, after = uses_before_definition(old), uses_before_definition(new)
    for name, line in after.items():
        if name not in before:
            raise PatchRefused(f"{name} is used before it is defined", path, line)
    return change


class _Comparison:
    def __init__(self, change: ModuleChange, hooked: bool) -> None:
        self._change = change
        self._hooked = hooked
        self._typing = (typing_names(change.old), typing_names(change.new))

    def bodies(self, owner: tuple[str, ...], old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> None:
        if docstring(old) != docstring(new):
            self._change.docs.append((owner, docstring(new)))
        before = outline(old, typing_names=self._typing[0])
        after = outline(new, typing_names=self._typing[1])
        old_by_key = {unit.key: unit for unit in before}
        new_by_key = {unit.key: unit for unit in after}
        removed = [unit for unit in before if unit.key not in new_by_key]
        added = [unit for unit in after if unit.key not in old_by_key]
        self._check_kinds(owner, removed, added)
        for unit in after:
            if unit.key in old_by_key:
                self._change.pairs.append((owner, old_by_key[unit.key], unit))
                self._common(owner, old_by_key[unit.key], unit)
        for unit in removed:
            self._removed(owner, unit, after)
        for unit in added:
            self._added(owner, unit)
        self._check_single(owner, before, after, {unit.name for unit in (*removed, *added)})
        for unit in moved_units(before, after, in_class=bool(owner)):
            raise self._refused(f"{_title(owner, unit)} has moved", unit)

    # ---- statements of both versions -------------------------------------------------------

    def _common(self, owner: tuple[str, ...], old: Unit, new: Unit) -> None:
        match old.node, new.node:
            case (ast.FunctionDef() | ast.AsyncFunctionDef(), ast.FunctionDef() | ast.AsyncFunctionDef()):
                self._function(owner, old, new)
            case (ast.ClassDef(), ast.ClassDef()):
                self._class(owner, new, old.node, new.node)
            case (ast.Assign() | ast.AnnAssign(), ast.Assign() | ast.AnnAssign()):
                if ast.dump(old.node) != ast.dump(new.node):
                    self._assignment(owner, old, new)

    def _function(self, owner: tuple[str, ...], old: Unit, new: Unit) -> None:
        before, after = old.node, new.node
        assert isinstance(before, FunctionNode)
        assert isinstance(after, FunctionNode)
        title = _title(owner, new)
        if _dumps(before.decorator_list) != _dumps(after.decorator_list):
            raise self._refused(f"the decorators of {title} have changed", new)
        if _type_parameters(before) != _type_parameters(after):
            raise self._refused(f"the type parameters of {title} have changed", new)
        try:
            new_defaults(before, after)
        except UnclearDefaultError as error:
            raise self._refused(f"the default of '{error}' of {title} is no plain constant", new) from error
        changed = behaviour(before) != behaviour(after)
        self._change.functions.append(FunctionChange(self._place(owner, new.name), before, after, changed))

    def _class(self, owner: tuple[str, ...], unit: Unit, old: ast.ClassDef, new: ast.ClassDef) -> None:
        title = _title(owner, unit)
        if _dumps(old.bases) != _dumps(new.bases):
            raise self._refused(f"{title} has other bases", unit)
        if _dumps(old.keywords) != _dumps(new.keywords):
            raise self._refused(f"{title} has another metaclass or class keywords", unit)
        if _dumps(old.decorator_list) != _dumps(new.decorator_list):
            raise self._refused(f"the decorators of {title} have changed", unit)
        if _type_parameters(old) != _type_parameters(new):
            raise self._refused(f"the type parameters of {title} have changed", unit)
        self.bodies((*owner, unit.name), old.body, new.body)

    def _assignment(self, owner: tuple[str, ...], old: Unit, new: Unit) -> None:
        before, after = value_of(old), value_of(new)
        if _annotation(old) != _annotation(new) or type(old.node) is not type(new.node):
            raise self._refused(self._annotations_changed(owner, new), new)
        self._check_class_name(owner, new)
        if is_plain(before) and is_plain(after):
            values = plain_value(before), plain_value(after)
            self._change.constants.append(ConstantChange(self._place(owner, new.name), new, *values))
        elif self._hooked or (new.name == "__all__" and is_display(after)):
            self._change.redone.append(UnitChange(self._place(owner, new.name), new))
        else:
            raise self._refused(f"{_where(owner, new)} is no plain constant", new)

    # ---- statements of one version ---------------------------------------------------------

    def _removed(self, owner: tuple[str, ...], unit: Unit, after: Sequence[Unit]) -> None:
        title = _title(owner, unit)
        if unit.kind in ("class", "other"):
            raise self._refused(self._other_changed(owner, unit) if unit.kind == "other" else f"{title} is gone", unit)
        self._check_class_name(owner, unit)
        if unit.kind == "assign" and not is_plain(value_of(unit)):
            raise self._refused(f"{_where(owner, unit)} is gone, and was no plain constant", unit)
        if unit.kind == "import":
            self._check_import(unit)
            if isinstance(unit.node, ast.Import) and any(other.name == unit.name for other in after):
                raise self._refused(f"'{ast.unparse(unit.node)}' is gone", unit)
        if unit.kind == "function" and (_is_property_part(unit) or any(other.name == unit.name for other in after)):
            raise self._refused(f"a part of the property {'.'.join((*owner, unit.name))} is gone", unit)
        if isinstance(unit.node, FunctionNode):
            for decorator in unit.node.decorator_list:
                if not is_wrapper(decorator, self._change.old):  # it may have been told to others, who go on using it
                    raise self._refused(f"{title} is gone, and had the decorator @{ast.unparse(decorator)}", unit)
        self._change.removed.append(UnitChange(self._place(owner, unit.name), unit))

    def _added(self, owner: tuple[str, ...], unit: Unit) -> None:
        if unit.kind == "other":
            raise self._refused(self._other_changed(owner, unit), unit)
        self._check_class_name(owner, unit)
        if unit.kind == "import":
            self._check_import(unit)
        reason = check_new(unit, self._change.new, in_class=bool(owner))
        if reason:
            raise self._refused(f"{_title(owner, unit)} is new, and {reason}", unit)
        self._change.added.append(UnitChange(self._place(owner, unit.name), unit))

    def _check_import(self, unit: Unit) -> None:
        if unit.name == "*" or (isinstance(unit.node, ast.ImportFrom) and unit.node.module == "__future__"):
            raise self._refused(f"'{ast.unparse(unit.node)}' is new or gone", unit)

    def _check_class_name(self, owner: tuple[str, ...], unit: Unit) -> None:
        if owner and unit.name in _MADE_WITH_THE_CLASS:
            raise self._refused(f"{unit.name} of {'.'.join(owner)} changed", unit)

    # ---- what holds for a whole body -------------------------------------------------------

    def _check_kinds(self, owner: tuple[str, ...], removed: Sequence[Unit], added: Sequence[Unit]) -> None:
        gone = {unit.name: unit for unit in removed if unit.name}
        for unit in added:
            old = gone.get(unit.name)
            if old is not None and (old.kind != unit.kind or unit.kind == "function"):
                become = _BECOMES[unit.kind] if old.kind != unit.kind else "another part of a property"
                raise self._refused(f"{_title(owner, old)} has become {become}", unit)

    def _check_single(
        self, owner: tuple[str, ...], before: Sequence[Unit], after: Sequence[Unit], names: Collection[str]
    ) -> None:
        """What has changed must be bound once: which of two bindings counts is not told by looking."""
        touched = set(names) | self._touched(owner)
        for units in (before, after):
            counts = Counter(name for unit in units if not _adds_to(unit) for name in _bound(unit))
            for unit in units:
                for name in _bound(unit) & touched:
                    if counts[name] > 1:
                        raise self._refused(f"{'.'.join((*owner, name))} is defined more than once", unit)

    def _touched(self, owner: tuple[str, ...]) -> set[str]:
        """Names of a body that are bound to something else now, or to a class in which something has changed."""
        change = self._change
        places = [item.place for item in (*change.added, *change.removed, *change.redone)]
        places += [item.place for item in change.constants]
        places += [item.place for item in change.functions if item.changed]
        places += [Place(change.module, changed, "__doc__") for changed, _ in change.docs]
        depth = len(owner)
        return {(*place.owner, place.name)[depth] for place in places if place.owner[:depth] == owner}

    def _other_changed(self, owner: tuple[str, ...], unit: Unit) -> str:
        if owner and isinstance(unit.node, ast.AnnAssign):
            return self._annotations_changed(owner, unit)
        text = ast.unparse(unit.node).partition("\n")[0]
        text = text if len(text) <= 40 else f"{text[:39]}…"
        return f"'{text}' {f'in the body of {chr(46).join(owner)}' if owner else 'at module level'} is new or gone"

    def _annotations_changed(self, owner: tuple[str, ...], unit: Unit) -> str:
        if owner:
            return f"the annotations of {'.'.join(owner)} have changed"
        return f"the annotation of {unit.name} has changed"

    def _refused(self, reason: str, unit: Unit) -> PatchRefused:
        return PatchRefused(reason, self._change.path, unit.node.lineno)

    def _place(self, owner: tuple[str, ...], name: str) -> Place:
        return Place(self._change.module, owner, name)


def behaviour(node: FunctionNode) -> tuple[str, ...]:
    """What decides what a function does: equal for two versions that differ in docstring or layout alone."""
    body = node.body[1:] if docstring(node.body) is not None else node.body
    return (type(node).__name__, parameters(node), *(ast.dump(part) for part in body if not isinstance(part, ast.Pass)))


def value_of(unit: Unit) -> ast.expr:
    """The right side of an assignment."""
    assert isinstance(unit.node, (ast.Assign, ast.AnnAssign))
    assert unit.node.value is not None
    return unit.node.value


def _annotation(unit: Unit) -> str:
    return ast.dump(unit.node.annotation) if isinstance(unit.node, ast.AnnAssign) else ""


def _type_parameters(node: ast.stmt) -> list[str]:
    return _dumps(getattr(node, "type_params", []))  # from Python 3.12 on


def _dumps(nodes: Sequence[ast.AST]) -> list[str]:
    return [ast.dump(node) for node in nodes]


def _bound(unit: Unit) -> set[str]:
    return {unit.name} if unit.name else bound_names(unit.node)


def _is_property_part(unit: Unit) -> bool:
    return unit.kind == "function" and bool(unit.key[2])


def _adds_to(unit: Unit) -> bool:
    """Whether it adds to what its name is bound to already: a setter, or ``import a.b`` beside ``import a``."""
    match unit.node:
        case ast.Import([ast.alias(name, None)]):
            return "." in name
    return _is_property_part(unit)


def _title(owner: tuple[str, ...], unit: Unit) -> str:
    path = ".".join((*owner, unit.name))
    if unit.kind == "other":
        return f"'{ast.unparse(unit.node).partition(chr(10))[0][:40]}'"
    return {"function": f"{path}()", "class": f"class {path}", "import": f"'{ast.unparse(unit.node)}'"}.get(
        unit.kind, path
    )


def _where(owner: tuple[str, ...], unit: Unit) -> str:
    return ".".join((*owner, unit.name)) if owner else f"module-level {unit.name}"

"""Change: how the new text of a module differs from the one that runs, or why that needs a fresh process.

What can be observed on frames is accepted here: bodies of functions, constants that functions read, new helpers.
Everything that acts when a module is imported or a class is made is refused.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .literal import is_display, is_plain, plain_value
from .outline import FUNCTIONS, FunctionNode, Unit, docstring, outline, title, without_docstring
from .refusal import PatchRefused


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """A function of both versions, or a new one (`old` is None). `owner`: path of the classes that it is in."""

    owner: tuple[str, ...]
    old: FunctionNode | None
    new: FunctionNode

    @property
    def path(self) -> str:
        return ".".join((*self.owner, self.new.name))

    @property
    def changed(self) -> bool:
        """Whether it behaves differently: docstring and layout do not count."""
        return self.old is None or dumps(without_docstring(self.old.body)) != dumps(without_docstring(self.new.body))


@dataclass(frozen=True, slots=True)
class ConstantChange:
    """A plain constant with another value.

    `field`: it is an annotated name of a class, so the default of a field where the class is a params class.
    """

    owner: tuple[str, ...]
    name: str
    old: Any
    new: Any
    node: ast.stmt
    field: bool = False

    @property
    def path(self) -> str:
        return ".".join((*self.owner, self.name))


@dataclass(frozen=True, slots=True)
class Assignment:
    """A changed assignment that the pipeline's reload hook takes care of: it runs again."""

    owner: tuple[str, ...]
    name: str
    node: ast.Assign | ast.AnnAssign


@dataclass(slots=True)
class ModuleChange:
    """All differences between two texts of one module.

    Attributes:
        functions: every function of both versions, also unchanged ones, and new ones.
        added: new names of the module: functions, constants, imports.
        removed: imports of the standard library that are gone.
        docs: changed docstrings of the module (empty path) and of classes.
    """

    module: str
    path: str
    old: ast.Module
    new: ast.Module
    functions: list[FunctionChange] = field(default_factory=list)
    constants: list[ConstantChange] = field(default_factory=list)
    added: list[Unit] = field(default_factory=list)
    removed: list[Unit] = field(default_factory=list)
    redone: list[Assignment] = field(default_factory=list)
    docs: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Qualified names of what has changed, in the order of the new text."""
        found = {change.path: change.new.lineno for change in self.functions if change.changed}
        for constant in self.constants:
            found.setdefault(constant.path, constant.node.lineno)
        for assignment in self.redone:
            found.setdefault(".".join((*assignment.owner, assignment.name)), assignment.node.lineno)
        for unit in (*self.added, *self.removed):
            found.setdefault(unit.name, unit.node.lineno)
        return [f"{self.module}.{name}" for name in sorted(found, key=lambda name: found[name])]

    def docs_changed(self) -> bool:
        functions = (change for change in self.functions if change.old is not None)
        return bool(self.docs) or any(
            docstring(one.old.body) != docstring(one.new.body) for one in functions if one.old
        )


def compare(module: str, path: str, old: ast.Module, new: ast.Module, *, hooked: bool = False) -> ModuleChange:
    """The differences between two versions of a module.

    Args:
        hooked: the pipeline has a reload hook, so changed assignments may run again.

    Raises:
        PatchRefused: some difference cannot be observed on frames.
    """
    change = ModuleChange(module, path, old, new)
    _Comparison(change, hooked).bodies((), old.body, new.body)
    return change


class _Comparison:
    def __init__(self, change: ModuleChange, hooked: bool) -> None:
        self._change = change
        self._hooked = hooked

    def bodies(self, owner: tuple[str, ...], old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> None:
        if docstring(old) != docstring(new):
            self._change.docs.append((owner, docstring(new)))
        before = {unit.key: unit for unit in outline(old)}
        after = {unit.key: unit for unit in outline(new)}
        for key in before.keys() - after.keys():
            self._removed(owner, before[key], after)
        for key in after.keys() - before.keys():
            self._added(owner, after[key])
        kept = [key for key in after if key in before]
        if kept != [key for key in before if key in after]:
            raise self._refused(f"the order of definitions in {self._scope(owner)} has changed", new[0])
        bindings = [_binding(unit) for unit in after.values()]
        for key in kept:
            if self._common(owner, before[key], after[key]) and bindings.count(_binding(after[key])) > 1:
                name = ".".join((*owner, after[key].name))
                raise self._refused(f"{name} is defined more than once", after[key].node)

    def _common(self, owner: tuple[str, ...], old: Unit, new: Unit) -> bool:
        """Compare a statement of both versions; whether it differs."""
        match old.node, new.node:
            case (
                ast.FunctionDef() | ast.AsyncFunctionDef() as before,
                ast.FunctionDef() | ast.AsyncFunctionDef() as after,
            ):
                return self._function(owner, before, after)
            case (ast.ClassDef() as before, ast.ClassDef() as after):
                self._class(owner, before, after)
            case (ast.Assign() | ast.AnnAssign() as before, ast.Assign() | ast.AnnAssign() as after):
                if ast.dump(before) != ast.dump(after):
                    self._assignment(owner, new.name, before, after)
                    return True
        return False

    def _function(self, owner: tuple[str, ...], old: FunctionNode, new: FunctionNode) -> bool:
        change = FunctionChange(owner, old, new)
        if head(old) != head(new):
            part = "decorators" if dumps(old.decorator_list) != dumps(new.decorator_list) else "signature"
            raise self._refused(f"the {part} of {change.path}() changed", new)
        self._change.functions.append(change)
        return change.changed

    def _class(self, owner: tuple[str, ...], old: ast.ClassDef, new: ast.ClassDef) -> None:
        path = ".".join((*owner, new.name))
        parts = (("bases", "bases"), ("keywords", "keywords"), ("decorators", "decorator_list"))
        for what, attribute in parts:
            if dumps(getattr(old, attribute)) != dumps(getattr(new, attribute)):
                raise self._refused(f"the {what} of class {path} changed", new)
        self.bodies((*owner, new.name), old.body, new.body)

    def _assignment(
        self, owner: tuple[str, ...], name: str, old: ast.Assign | ast.AnnAssign, new: ast.Assign | ast.AnnAssign
    ) -> None:
        path = ".".join((*owner, name))
        if type(old) is not type(new) or _annotation(old) != _annotation(new):
            raise self._refused(f"the annotation of {path} changed", new)
        is_field = bool(owner) and isinstance(new, ast.AnnAssign)
        values = _default_of(old.value, new.value) if is_field else (old.value, new.value)
        if self._hooked and not is_field and new.value is not None:
            self._change.redone.append(Assignment(owner, name, new))
        elif all(map(is_plain, values)):
            plain = [plain_value(value) for value in values if value is not None]
            self._change.constants.append(ConstantChange(owner, name, plain[0], plain[1], new, is_field))
        else:
            raise self._refused(f"{path} changed, and is not a plain constant", new)

    def _removed(self, owner: tuple[str, ...], unit: Unit, after: dict[tuple[str, ...], Unit]) -> None:
        if owner or not _is_standard(unit) or any(other.name == unit.name for other in after.values()):
            raise self._refused(f"'{title(unit.node)}' was removed from {self._scope(owner)}", unit.node)
        self._change.removed.append(unit)

    def _added(self, owner: tuple[str, ...], unit: Unit) -> None:
        if owner or not _may_run_late(unit):
            raise self._refused(f"'{title(unit.node)}' is new in {self._scope(owner)}", unit.node)
        self._change.added.append(unit)
        if isinstance(unit.node, FUNCTIONS):
            self._change.functions.append(FunctionChange((), None, unit.node))

    def _scope(self, owner: tuple[str, ...]) -> str:
        return f"class {'.'.join(owner)}" if owner else f"module {self._change.module}"

    def _refused(self, reason: str, node: ast.stmt) -> PatchRefused:
        return PatchRefused(reason, self._change.path, node.lineno)


def _binding(unit: Unit) -> tuple[str, str]:
    """The name that a statement binds; the parts of a property share one."""
    return unit.name, unit.key[2] if unit.kind == "function" else ""


def head(node: FunctionNode) -> tuple[Any, ...]:
    """Everything of a definition but its body: kind, decorators, parameters, defaults, annotations."""
    returns = ast.dump(node.returns) if node.returns is not None else ""
    parameters = dumps(getattr(node, "type_params", []))  # from Python 3.12 on
    return (type(node).__name__, dumps(node.decorator_list), ast.dump(node.args), returns, parameters)


def dumps(nodes: Sequence[ast.AST]) -> list[str]:
    return [ast.dump(node) for node in nodes]


def _annotation(node: ast.stmt) -> str:
    return ast.dump(node.annotation) if isinstance(node, ast.AnnAssign) else ""


def _default_of(old: ast.expr | None, new: ast.expr | None) -> tuple[ast.expr | None, ast.expr | None]:
    """The default in ``Field(default, ...)`` where nothing else differs; else both values as they are."""
    match old, new:
        case ast.Call(func=before), ast.Call(func=after) if ast.dump(before) == ast.dump(after):
            values = _first_argument(old), _first_argument(new)
            if None not in values and _rest(old) == _rest(new):
                return values
    return old, new


def _first_argument(call: ast.Call) -> ast.expr | None:
    if call.args:
        return call.args[0]
    return next((keyword.value for keyword in call.keywords if keyword.arg == "default"), None)


def _rest(call: ast.Call) -> list[str]:
    return dumps([*call.args[1:], *(keyword for keyword in call.keywords if keyword.arg != "default")])


def _is_standard(unit: Unit) -> bool:
    """Whether it imports from the standard library, which has no effect that a frame could show."""
    match unit.node:
        case ast.Import([ast.alias(name)]) | ast.ImportFrom(module=str(name), level=0):
            return name.partition(".")[0] in sys.stdlib_module_names and unit.name != "*"
    return False


def _may_run_late(unit: Unit) -> bool:
    """Whether a new statement of a module has the same effect now as at its import: none but the name that it binds."""
    if not unit.name:
        return False
    match unit.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            defaults = (*unit.node.args.defaults, *filter(None, unit.node.args.kw_defaults))
            return all(map(is_plain, defaults)) and not unit.node.decorator_list
        case ast.Import() | ast.ImportFrom():
            return unit.name != "*" and getattr(unit.node, "module", "") != "__future__"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return is_display(value)
    return False


def walk_functions(
    body: Sequence[ast.stmt], owner: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FunctionNode]]:
    """Every function of a module and of its classes, with the path of classes that it is in."""
    for unit in outline(body):
        if isinstance(unit.node, FUNCTIONS):
            yield owner, unit.node
        elif isinstance(unit.node, ast.ClassDef):
            yield from walk_functions(unit.node.body, (*owner, unit.name))

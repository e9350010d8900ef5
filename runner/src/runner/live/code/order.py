"""Order: what a fresh import of the new text would trip over, and the running process would not notice."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence

from .literal import is_plain
from .outline import FUNCTIONS, Unit, bound_names, children, has_future_annotations, outline

_GIVEN = frozenset(dir(builtins)) | {
    "__name__", "__file__", "__doc__", "__package__", "__path__", "__spec__", "__loader__", "__builtins__",
    "__annotations__", "__dict__", "__module__", "__qualname__", "__class__",
}  # fmt: skip
_QUIET_DECORATORS = frozenset({"staticmethod", "classmethod", "property"})


def moved_units(old: Sequence[Unit], new: Sequence[Unit], *, in_class: bool) -> Iterator[Unit]:
    """Units of both versions that stand elsewhere among the statements that execute something.

    The order of what a class body assigns may mean something: to an enumeration or a dataclass it does.
    """
    common = {unit.key for unit in old} & {unit.key for unit in new}
    loud = {unit.key for unit in (*old, *new) if unit.key in common and not _is_quiet(unit)}
    before = _executed_before(old, loud)
    for key, earlier in _executed_before(new, loud).items():
        if key in common and before[key] != earlier:
            yield next(unit for unit in new if unit.key == key)
    if in_class:
        orders = [[unit for unit in units if unit.kind == "assign" and unit.key in common] for units in (old, new)]
        for before_it, unit in zip(*orders, strict=True):
            if before_it.key != unit.key:
                yield unit


def _executed_before(units: Sequence[Unit], loud: set[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[object, ...]]:
    found: list[tuple[str, ...]] = []
    before: dict[tuple[str, ...], tuple[object, ...]] = {}
    for unit in units:
        before[unit.key] = tuple(found)
        if unit.key in loud:
            found.append(unit.key)
    return before


def _is_quiet(unit: Unit) -> bool:
    """Whether executing it calls nothing: where it stands among other statements does not matter."""
    match unit.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            arguments = unit.node.args
            defaults = (*arguments.defaults, *filter(None, arguments.kw_defaults))
            return all(map(is_plain, defaults)) and all(map(_is_quiet_decorator, unit.node.decorator_list))
        case ast.ClassDef(keywords=[], decorator_list=[], body=body):
            return all(map(_is_quiet, outline(body)))
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return is_plain(value)
        case ast.Import() | ast.ImportFrom():
            return True
    return False


def _is_quiet_decorator(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _QUIET_DECORATORS


def uses_before_definition(tree: ast.Module) -> dict[str, int]:
    """Names that are used while the module is imported and that no statement before has bound -> line."""
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return {}  # they may be among what was imported
    found: dict[str, int] = {}
    _check_body(tree.body, set(_GIVEN), found, annotations=not has_future_annotations(tree))
    return found


def _check_body(body: Sequence[ast.stmt], bound: set[str], found: dict[str, int], *, annotations: bool) -> None:
    for node in body:
        names = bound_names(node)
        if isinstance(node, (ast.If, ast.Try, ast.For, ast.While, ast.With, ast.Match)):
            bound |= names  # in which order its parts run is not looked at
        if isinstance(node, ast.ClassDef):
            for part in (*node.decorator_list, *node.bases, *node.keywords):
                _check_loads(part, bound, found, annotations)
            _check_body(node.body, set(bound), found, annotations=annotations)
        else:
            _check_loads(node, bound, found, annotations)
        bound |= names


def _check_loads(node: ast.AST, bound: set[str], found: dict[str, int], annotations: bool) -> None:
    match node:
        case ast.Name(name, ast.Load()) if name not in bound:
            found.setdefault(name, node.lineno)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            own = set().union(*(bound_names(part.target) for part in node.generators))
            bound = bound | own
        case ast.NamedExpr(ast.Name(name)):
            bound.add(name)
    for child in children(node):
        if annotations or not _is_annotation(node, child):
            _check_loads(child, bound, found, annotations)


def _is_annotation(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(parent, (ast.arg, ast.AnnAssign)):
        return child is parent.annotation
    return isinstance(parent, FUNCTIONS) and child is parent.returns

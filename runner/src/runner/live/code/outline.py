"""Outline: the statements of a module or class body, each with the name that it binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["function", "class", "import", "assign", "other"]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_PROPERTY_PARTS = ("setter", "getter", "deleter")


@dataclass(frozen=True, slots=True)
class Unit:
    """One statement that is executed when its module is imported.

    Attributes:
        name: what it binds; empty for kind "other".
        key: the same for what is the same statement in two versions of a body.
        node: an import of several names is taken apart, one unit for each.
    """

    kind: Kind
    name: str
    key: tuple[str, ...]
    node: ast.stmt

    @property
    def first_line(self) -> int:
        return first_line(self.node)

    @property
    def last_line(self) -> int:
        return self.node.end_lineno or self.node.lineno


def first_line(node: ast.stmt) -> int:
    """Where a statement begins, decorators included: also the first line of its code object."""
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min((node.lineno, *(decorator.lineno for decorator in decorators)))


def outline(body: Sequence[ast.stmt], *, typing_names: frozenset[str] = frozenset()) -> list[Unit]:
    """The units of a body, in order; what has no effect when it is imported is left out.

    Left out are docstrings, ``pass``, blocks that only type checkers see, and ``__main__`` blocks.
    A statement that is there several times gets a number into its key.
    """
    units: list[Unit] = []
    seen: dict[tuple[str, ...], int] = {}
    for unit in _units(body, typing_names):
        count = seen[unit.key] = seen.get(unit.key, -1) + 1
        units.append(unit if not count else Unit(unit.kind, unit.name, (*unit.key, str(count)), unit.node))
    return units


def _units(body: Sequence[ast.stmt], typing_names: frozenset[str]) -> Iterator[Unit]:
    for node in effective(body, typing_names):
        match node:
            case ast.Pass() | ast.Expr(ast.Constant()):
                continue
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Unit("function", name, ("def", name, _role(node)), node)
            case ast.ClassDef(name=name):
                yield Unit("class", name, ("class", name), node)
            case ast.Import(names) | ast.ImportFrom(names=names):
                yield from (_import(node, alias) for alias in names)
            case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name), value=ast.expr()):
                yield Unit("assign", name, ("assign", name), node)
            case _:
                yield Unit("other", "", ("other", ast.dump(node)), node)


def _role(node: FunctionNode) -> str:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Attribute) and decorator.attr in _PROPERTY_PARTS:
            return decorator.attr
    return ""


def _import(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Unit:
    if isinstance(node, ast.Import):
        single: ast.Import | ast.ImportFrom = ast.Import([alias])
        name = alias.asname or alias.name.partition(".")[0]
    else:
        single = ast.ImportFrom(node.module, [alias], node.level)
        name = alias.asname or alias.name
    ast.copy_location(single, node)
    return Unit("import", name, ("import", ast.unparse(single)), single)


def effective(body: Sequence[ast.stmt], typing_names: frozenset[str]) -> list[ast.stmt]:
    """A body without the blocks that are not executed at an import."""
    return [node for node in body if not (isinstance(node, ast.If) and _has_no_effect(node, typing_names))]


def _has_no_effect(node: ast.If, typing_names: frozenset[str]) -> bool:
    match node.test:
        case ast.Name(name) if name in typing_names:
            return not node.orelse
        case ast.Attribute(ast.Name("typing"), "TYPE_CHECKING"):
            return not node.orelse
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return not node.orelse
    return False


def typing_names(tree: ast.Module) -> frozenset[str]:
    """The names that this module has imported ``TYPE_CHECKING`` as."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in ("typing", "typing_extensions"):
            names.update(alias.asname or alias.name for alias in node.names if alias.name == "TYPE_CHECKING")
    return frozenset(names)


def has_future_annotations(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


def docstring(body: Sequence[ast.stmt]) -> str | None:
    match body:
        case [ast.Expr(ast.Constant(str(text))), *_]:
            return text
    return None


def children(node: ast.AST) -> Iterator[ast.AST]:
    """What is executed together with a node: its children, but for the bodies of functions and lambdas."""
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, (*FUNCTIONS, ast.Lambda)):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield item


def walk_executed(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and all that is executed together with it."""
    yield node
    for child in children(node):
        yield from walk_executed(child)


def bound_names(node: ast.AST) -> set[str]:
    """The names that a statement binds in the scope that it stands in."""
    names: set[str] = set()
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            names.add(name)
            for decorator in node.decorator_list:
                names |= bound_names(decorator)
            return names
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            # A comprehension binds nothing around it but what it names by `:=`.
            return {part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)}
        case ast.Name(name, ast.Store()):
            names.add(name)
        case ast.alias(name, asname):
            names.add(asname or name.partition(".")[0])
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            names.add(name)
        case ast.MatchMapping(rest=str(name)):
            names.add(name)
    for child in ast.iter_child_nodes(node):
        names |= bound_names(child)
    return names

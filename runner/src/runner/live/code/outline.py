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
    """One statement that runs when its module is imported.

    Attributes:
        name: the name that it binds; empty for kind "other".
        key: equal for the same statement in two versions of a body.
        node: an import of several names is split, one unit for each.
    """

    kind: Kind
    name: str
    key: tuple[str, ...]
    node: ast.stmt


def first_line(node: ast.stmt) -> int:
    """First line of a statement, decorators included: also the first line of its code object."""
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min((node.lineno, *(decorator.lineno for decorator in decorators)))


def outline(body: Sequence[ast.stmt]) -> list[Unit]:
    """The units of a body, in order, without statements that have no effect at run time.

    Skipped are docstrings, ``pass``, ``if TYPE_CHECKING`` and ``if __name__ == "__main__"``.
    A statement that occurs several times gets a number into its key.
    """
    units: list[Unit] = []
    seen: dict[tuple[str, ...], int] = {}
    for unit in _units(body):
        count = seen[unit.key] = seen.get(unit.key, -1) + 1
        units.append(unit if not count else Unit(unit.kind, unit.name, (*unit.key, str(count)), unit.node))
    return units


def _units(body: Sequence[ast.stmt]) -> Iterator[Unit]:
    for node in body:
        match node:
            case ast.Pass() | ast.Expr(ast.Constant()):
                continue
            case ast.If(orelse=[]) if _never_runs(node.test):
                continue
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Unit("function", name, ("def", name, _role(node)), node)
            case ast.ClassDef(name=name):
                yield Unit("class", name, ("class", name), node)
            case ast.Import(names) | ast.ImportFrom(names=names):
                yield from (_import(node, alias) for alias in names)
            case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
                yield Unit("assign", name, ("assign", name), node)
            case _:
                yield Unit("other", "", ("other", ast.dump(node)), node)


def _never_runs(test: ast.expr) -> bool:
    match test:
        case ast.Name("TYPE_CHECKING") | ast.Attribute(ast.Name("typing"), "TYPE_CHECKING"):
            return True
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return True
    return False


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


def docstring(body: Sequence[ast.stmt]) -> str | None:
    match body:
        case [ast.Expr(ast.Constant(str(text))), *_]:
            return text
    return None


def without_docstring(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    return list(body[1:] if docstring(body) is not None else body)


def title(node: ast.AST) -> str:
    """A statement in one short line, for messages."""
    text = ast.unparse(node).partition("\n")[0]
    return text if len(text) <= 40 else f"{text[:39]}…"

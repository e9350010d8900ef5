"""Scratch: executing definitions that are new in a module or class, without executing the rest of it."""

from __future__ import annotations
import __future__

import ast
import itertools
from collections.abc import Mapping, Sequence
from types import CellType, CodeType
from typing import Any

from .live import live_class, mangled
from .outline import Unit, first_line, has_future_annotations

_META = "__live_class__"


def execute_in_module(names: dict[str, Any], unit: Unit, tree: ast.Module, code: CodeType) -> None:
    """Execute one statement of a module.

    Args:
        names: the module's own.
        tree: the module's whole new text; `code` is what that was compiled to: functions get code from there.

    Raises:
        Exception: whatever the statement raises.
    """
    node = unit.node
    if isinstance(node, ast.AnnAssign) and node.value is not None:  # the annotation of a constant has no use
        node = ast.copy_location(ast.Assign([node.target], node.value), node)
    exec(_compile([node], tree, code), names)


def execute_in_class(
    module: str, owner: tuple[str, ...], units: Sequence[Unit], names: dict[str, Any], tree: ast.Module, code: CodeType
) -> dict[str, Any]:
    """Execute statements of a class body; what they bind, by the names that the class has them under.

    ``super()`` and private names work as in the class itself; the class is not changed.

    Raises:
        Exception: whatever a statement raises.
    """
    # The same classes around the statements, made by something that only keeps what was bound.
    body: list[ast.stmt] = [unit.node for unit in units]
    for depth in range(len(owner), 0, -1):
        around = ast.parse(f"class {owner[depth - 1]}(metaclass={_META}): pass").body[0]
        assert isinstance(around, ast.ClassDef)
        around.body = body
        node = _class_node(tree, owner[:depth])
        around.lineno, around.end_lineno = first_line(node), node.end_lineno  # by that its code object is found
        body = [ast.fix_missing_locations(around)]
    makers = [_Maker(module, owner[: depth + 1]) for depth in range(len(owner))]
    for outer, inner in itertools.pairwise(makers):
        outer.namespace[_META] = inner
    exec(_compile(body, tree, code), names, {_META: makers[0]})
    found = makers[-1].namespace
    return {key: found[key] for key in (mangled(owner, unit.name) for unit in units)}


class _Maker:
    """Stands in for a metaclass: what the body binds is kept, and its ``__class__`` is the class that lives."""

    def __init__(self, module: str, path: tuple[str, ...]) -> None:
        of = live_class(module, path)
        assert of is not None
        self.of = of
        self.namespace: dict[str, Any] = dict(vars(of))

    def __prepare__(self, _name: str, _bases: tuple[type, ...]) -> dict[str, Any]:
        return self.namespace

    def __call__(self, _name: str, _bases: tuple[type, ...], namespace: Mapping[str, Any]) -> None:
        cell = namespace.get("__classcell__")
        if isinstance(cell, CellType):
            cell.cell_contents = self.of


def _class_node(tree: ast.Module, path: tuple[str, ...]) -> ast.ClassDef:
    body = tree.body
    for name in path:
        found = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == name)
        body = found.body
    return found


def _compile(nodes: list[ast.stmt], tree: ast.Module, code: CodeType) -> CodeType:
    flags = __future__.annotations.compiler_flag if has_future_annotations(tree) else 0
    made = compile(ast.Module(nodes, []), code.co_filename, "exec", flags, dont_inherit=True)
    return _with_codes_of(made, code, _classes(nodes))


def _classes(nodes: list[ast.stmt]) -> frozenset[tuple[str, int]]:
    """The classes that only stand around what is executed."""
    found = set()
    while len(nodes) == 1 and isinstance(nodes[0], ast.ClassDef) and _is_around(nodes[0]):
        found.add((nodes[0].name, first_line(nodes[0])))
        nodes = nodes[0].body
    return frozenset(found)


def _is_around(node: ast.ClassDef) -> bool:
    return any(isinstance(part.value, ast.Name) and part.value.id == _META for part in node.keywords)


def _with_codes_of(made: CodeType, code: CodeType, around: frozenset[tuple[str, int]]) -> CodeType:
    """The same with the code objects of the whole module, so that a later patch knows them."""
    known = {(child.co_name, child.co_firstlineno): child for child in _codes(code)}
    constants = []
    for constant in made.co_consts:
        key = (constant.co_name, constant.co_firstlineno) if isinstance(constant, CodeType) else None
        if key is None or key not in known:
            constants.append(constant)
        elif key in around:
            constants.append(_with_codes_of(constant, known[key], around))
        else:
            constants.append(known[key])
    return made.replace(co_consts=tuple(constants))


def _codes(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]

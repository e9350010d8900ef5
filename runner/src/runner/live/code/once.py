"""Once: state that code builds the first time it runs, outside of `initialize`, and then keeps.

    if self.table is None:
        self.table = make_table(params)

What `make_table` made before it changed would stay, and the new code never run. So what such code
calls counts like what `initialize` calls.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .outline import FUNCTIONS
from .program import Function, Program
from .reach import LiveObjects, Reach, label

_LEAVE = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_FILL = frozenset({"append", "add", "insert", "extend", "put", "setdefault", "update", "appendleft", "setattr"})


@dataclass(frozen=True, slots=True)
class Region:
    """Code of a function that runs once.

    Attributes:
        kept: where it keeps what it builds, e.g. ``self.table``; empty if the function keeps its results itself.
        nodes: what is executed for it.
    """

    function: Function
    kept: frozenset[str]
    nodes: tuple[ast.AST, ...]

    @property
    def title(self) -> str:
        what = ", ".join(sorted(self.kept)) or "its results"
        return f"{label(self.function)}, which keeps {what}"

    @property
    def text(self) -> tuple[str, ...]:
        """Equal for two versions of the same region."""
        return tuple(ast.dump(node) for node in self.nodes)


def regions(program: Program, function: Function, live: LiveObjects) -> list[Region]:
    """What a function builds once."""
    if isinstance(function.node, ast.Lambda):
        return []
    if function.keeps_results:
        return [Region(function, frozenset(), tuple(function.node.body))]
    return list(_Finder(program, function, live).find())


class _Finder:
    def __init__(self, program: Program, function: Function, live: LiveObjects) -> None:
        self._program = program
        self._function = function
        self._live = live
        self._origins: dict[str, list[ast.expr]] = {}  # local variable -> what it is set to

    def find(self) -> Iterator[Region]:
        body = self._function.node.body
        assert isinstance(body, list)
        for node in _walk(body):
            match node:
                case ast.Assign(targets, value):
                    self._remember(targets, value)
                case ast.NamedExpr(target, value) | ast.AnnAssign(target, value=ast.expr() as value):
                    self._remember([target], value)
        always = self._always(body)
        for guard, nodes in self._guarded(body):
            kept = self._kept(guard, nodes) - always
            if kept:
                yield Region(self._function, kept, (*nodes, *self._sources(nodes)))

    def _always(self, body: Sequence[ast.stmt]) -> set[str]:
        """What is stored anew on every run, and so is not kept."""
        found: set[str] = set()
        for node in body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and not isinstance(node.value, (ast.BoolOp, ast.IfExp)):
                for part in _walk(node.targets if isinstance(node, ast.Assign) else [node.target]):
                    if isinstance(getattr(part, "ctx", None), ast.Store):
                        found |= self._key(part)
            elif any(isinstance(part, _LEAVE) for part in _walk([node])):
                break
        return found

    def _remember(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    self._origins.setdefault(part.id, []).append(value)

    def _guarded(self, body: Sequence[ast.stmt]) -> Iterator[tuple[list[ast.AST], list[ast.AST]]]:
        """Pairs of what decides and what is then run."""
        for position, node in enumerate(body):
            rest = list(body[position + 1 :])
            match node:
                case ast.If(test, then, orelse):
                    yield [test], [*then]
                    yield [test], [*orelse, *(rest if isinstance(then[-1], _LEAVE) else [])]
                case ast.Try(body=tried, handlers=handlers):
                    leaves = any(isinstance(part, _LEAVE) for part in tried)
                    for handler in handlers:
                        yield [*tried], [*handler.body, *(rest if leaves else [])]
            for inner in ("body", "orelse", "finalbody"):
                block = getattr(node, inner, None)
                if isinstance(block, list) and not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                    yield from self._guarded(block)
            for handler in getattr(node, "handlers", ()):
                yield from self._guarded(handler.body)
            yield from self._guarded_values(node)

    def _guarded_values(self, node: ast.stmt) -> Iterator[tuple[list[ast.AST], list[ast.AST]]]:
        """``self.x = self.x or make()``, and ``self.x.setdefault(key, make())``."""
        match node:
            case ast.Assign(value=ast.BoolOp(ast.Or()) | ast.IfExp()):
                yield [node.value], [node]
        if isinstance(node, (ast.Expr, ast.Assign, ast.Return)):
            for part in _walk([node]):
                match part:
                    case ast.Call(ast.Attribute(value, "setdefault")):
                        yield [value], [part]

    def _kept(self, guard: Sequence[ast.AST], nodes: Sequence[ast.AST]) -> frozenset[str]:
        """What both decides and is stored, here or by what is called here."""
        read = self._read(guard)
        if not read or not nodes:
            return frozenset()
        stored = self._stored(nodes)
        if any(isinstance(part, ast.Call) for part in _walk(nodes)):
            reach = Reach(self._program, self._live)
            reach.follow_code(nodes, self._function.module, self._function, None, ())
            for function in reach.executed:
                body = function.node.body
                stored |= _Finder(self._program, function, self._live)._stored(body if isinstance(body, list) else [])
        return frozenset(read & stored)

    def _read(self, nodes: Iterable[ast.AST], depth: int = 2) -> set[str]:
        found: set[str] = set()
        for part in _walk(nodes):
            match part:
                case ast.Attribute() | ast.Name(ctx=ast.Load()):
                    found |= self._key(part)
                case ast.Call(ast.Name("hasattr" | "getattr"), [ast.Name(name), ast.Constant(str(attribute)), *_]):
                    if name == self._function.first_parameter:
                        found.add(f"self.{attribute}")
            if isinstance(part, ast.Name) and depth:
                found |= self._read(self._origins.get(part.id, ()), depth - 1)
        return found

    def _stored(self, nodes: Iterable[ast.AST]) -> set[str]:
        found: set[str] = set()
        for part in _walk(nodes):
            match part:
                case ast.Name(ctx=ast.Store()):
                    found |= self._key(part)
                case ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                    found |= self._root(part)
                case ast.Call(ast.Attribute(value, name)) if name in _FILL:
                    found |= self._root(value)
                case ast.Call(ast.Name("setattr"), [ast.Name(), ast.Constant(str(attribute)), *_]):
                    found.add(f"self.{attribute}")
        return found

    def _root(self, node: ast.expr) -> set[str]:
        """What a part of something belongs to: ``self.x`` of ``self.x[0].y``."""
        while isinstance(node, (ast.Subscript, ast.Attribute)) and not self._key(node):
            node = node.value
        return self._key(node)

    def _key(self, node: ast.AST) -> set[str]:
        match node:
            case ast.Attribute(ast.Name(name), attribute) if name and name == self._function.first_parameter:
                return {f"self.{attribute}"}
            case ast.Name(name) if not self._program.is_local(self._function, name):
                module = self._program.modules[self._function.module]
                return {name} if name in module.variables else set()
        return set()

    def _sources(self, nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
        """What the local variables that are stored were set to."""
        for part in _walk(nodes):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                yield from self._origins.get(part.id, ())


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes, but for those in the bodies of functions that are only defined there."""
    for node in nodes:
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            yield from _walk(ast.iter_child_nodes(node))

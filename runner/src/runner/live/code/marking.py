"""Marking: a copy of a function's new text, with marks at the smallest parts that differ from the old one."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from .change import head
from .marks import Branch, Mark, Marks
from .outline import FUNCTIONS, FunctionNode, title, without_docstring
from .refusal import PatchRefused

# Calls for their effect that leave nothing in the process.
_HARMLESS = ("print", "log", "logger", "_log", "_logger", "LOG", "LOGGER", "logging", "warnings", "time", "sleep")
# An expression with another context than these parts cannot be wrapped.
_CANNOT_WRAP = (ast.Starred, ast.Slice, ast.FormattedValue)
_STRUCTURED = (ast.JoinedStr, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# What a test may consist of, to depend on the params in force alone.
_PARAMS_TEST = (
    ast.Attribute, ast.Name, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Set,
    ast.cmpop, ast.boolop, ast.unaryop, ast.expr_context,
)  # fmt: skip
_PARAMS_NAMES = ("params", "_params")


class Marking:
    """Puts marks into one function.

    Args:
        marks: get the marks that are made.
        path: of the function, for messages. file: that it is in.
        function: its new version.
    """

    def __init__(self, marks: Marks, path: str, file: str, function: FunctionNode) -> None:
        self._marks = marks
        self._path = path
        self._file = file
        self._guards: tuple[Branch, ...] = ()
        self._inside = ""  # the statement that expressions are marked in, for messages
        self._shared = {  # names whose assignment outlives the call
            name for node in ast.walk(function) if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names
        }

    def function(self, old: FunctionNode | None, new: FunctionNode) -> FunctionNode:
        """The new version with marks where it differs from the old one; None: it is new as a whole.

        Raises:
            PatchRefused: a difference leaves something behind that no new code would touch.
        """
        made = copy.copy(new)
        body = without_docstring(new.body)
        before = without_docstring(old.body) if old is not None else []
        made.body = [*new.body[: len(new.body) - len(body)], self._note(new), *self._block(before, body)]
        return made

    def reads(self, function: FunctionNode, is_read: Callable[[ast.AST], bool]) -> FunctionNode:
        """The function with marks at every expression, or import in it, for which `is_read` holds."""
        found: FunctionNode = _Reads(self, is_read).visit(copy.deepcopy(function))
        return found

    # ---- statements ------------------------------------------------------------------------

    def _block(self, old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> list[ast.stmt]:
        """A block of statements with marks where it differs."""
        made: list[ast.stmt] = []
        for olds, news, first in _aligned(old, new):
            if len(olds) == len(news) == 1 and _kind(olds[0]) == _kind(news[0]):
                made += self._statement(olds[0], news[0])
            else:
                made += self._replaced(olds, news, new, first)
        return made

    def _replaced(
        self, olds: Sequence[ast.stmt], news: Sequence[ast.stmt], block: Sequence[ast.stmt], first: int
    ) -> list[ast.stmt]:
        """Other statements than before: what is new is marked, and where something is gone."""
        self._check_gone(olds, news)
        strict = not all(isinstance(node, ast.Pass) for node in olds)
        marked = [part for node in news for part in self._whole(node, strict=strict)]
        if marked or not block:
            return marked
        return [self._note(block[min(first, len(block) - 1)], "the removed statement near")]

    def _check_gone(self, olds: Sequence[ast.stmt], news: Sequence[ast.stmt]) -> None:
        kept = {ast.dump(part) for node in news for part in ast.walk(node) if isinstance(part, ast.stmt)}
        for node in olds:
            if ast.dump(node) not in kept and not self._is_local(node):
                reason = f"'{title(node)}' was removed from {self._path}(), and its effect may remain"
                raise PatchRefused(reason, self._file, node.lineno)

    def _statement(self, old: ast.stmt, new: ast.stmt) -> list[ast.stmt]:
        """A statement that replaces one of its kind."""
        if ast.dump(old) == ast.dump(new):
            return [new]
        self._inside = title(new)
        if isinstance(old, FUNCTIONS) and isinstance(new, FUNCTIONS) and head(old) == head(new):
            return [self.function(old, new)]
        if isinstance(old, ast.If) and isinstance(new, ast.If):
            return self._if(old, new)
        differing = _differing(old, new)
        if not all(_is_markable(before, value) for _, before, value in differing):
            self._check_targets(old, new)
            return self._whole(new, strict=True)
        made = copy.copy(new)
        for name, before, value in differing:
            setattr(made, name, self._field(before, value))
        return [made]

    def _field(self, old: Any, new: Any) -> Any:
        """A field of a statement with marks inside."""
        if _is_block(new):
            return self._block(old, new)
        if isinstance(new, list):
            return [self._clause(one, other) for one, other in zip(old, new, strict=True)]
        return self._expression(old, new)

    def _clause(self, old: Any, new: Any) -> Any:
        made = copy.copy(new)
        made.body = self._block(old.body, new.body)
        return made

    def _check_targets(self, old: ast.stmt, new: ast.stmt) -> None:
        """An attribute that is not set any more keeps its value."""
        missing = _targets(old) - _targets(new)
        if missing and not self._is_local(old):
            reason = f"'{title(old)}' was removed from {self._path}(), and its effect may remain"
            raise PatchRefused(reason, self._file, new.lineno)

    def _if(self, old: ast.If, new: ast.If) -> list[ast.stmt]:
        made = copy.copy(new)
        notes: list[ast.stmt] = []
        if bool(old.orelse) != bool(new.orelse):
            self._check_gone(old.orelse, new.orelse)
            notes.append(self._note(new))
        made.test = self._expression(old.test, new.test)
        if not self._depends_on_params(new.test) or not _same(old.test, new.test):
            made.body = self._block(old.body, new.body)
            made.orelse = self._orelse(old.orelse, new.orelse)
            return [*notes, made]
        test = self._helper()
        made.test = _ParamsReads(self, test).visit(copy.deepcopy(new.test))
        made.body = self._guarded(test, old.body, new.body)
        made.orelse = self._guarded(test, old.orelse, new.orelse)
        return [*notes, made]

    def _orelse(self, old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> list[ast.stmt]:
        """A new ``else`` whose statements leave nothing behind need not run."""
        if not old and all(map(self._is_local, new)):
            return list(new)
        return self._block(old, new) if new else []

    def _guarded(self, test: Mark, old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> list[ast.stmt]:
        if not new or _same(list(old), list(new)):
            return list(new)
        inside = self._helper()
        before, self._guards = self._guards, (*self._guards, Branch(test, inside))
        block = self._orelse(old, new)
        self._guards = before
        return [_statement(self.call(inside, "at", None, new[0])), *block]

    def _whole(self, node: ast.stmt, *, strict: bool = False) -> list[ast.stmt]:
        """A statement that is new as a whole, with marks in the blocks inside it.

        `strict`: in all of them, since code that ran before may have been moved there; else only in those that leave
        something behind.
        """
        made = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if _is_block(value) and value:
                setattr(made, name, self._whole_block(value, strict=strict and not isinstance(node, FUNCTIONS)))
            elif name in ("handlers", "cases"):
                setattr(made, name, [self._whole_clause(clause) for clause in value])
        return [self._note(node), made]

    def _whole_block(self, block: list[ast.stmt], *, strict: bool) -> list[ast.stmt]:
        if not strict and all(map(self._is_local, block)):
            return block
        body = without_docstring(block)
        marked = [part for child in body for part in self._whole(child, strict=strict)]
        return [*block[: len(block) - len(body)], *marked]

    def _whole_clause(self, clause: Any) -> Any:
        made = copy.copy(clause)
        made.body = self._whole_block(clause.body, strict=False)
        return made

    def _is_local(self, node: ast.stmt) -> bool:
        """Whether nothing remains of it after the call but log lines."""
        for part in ast.walk(node):
            match part:
                case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                    return False
                case ast.Name(name, ast.Store() | ast.Del()) if name in self._shared:
                    return False
                case ast.Expr(ast.Call(func=func)) if _root(func) not in _HARMLESS:
                    return False
                case ast.Import() | ast.ImportFrom():
                    return False
        return True

    # ---- expressions -----------------------------------------------------------------------

    def _expression(self, old: ast.expr, new: ast.expr) -> ast.expr:
        """The new expression with marks at its smallest parts that differ."""
        if ast.dump(old) == ast.dump(new):
            return new
        if type(old) is not type(new) or isinstance(new, ast.JoinedStr):
            return self.wrap(new)
        if isinstance(new, _STRUCTURED):
            return self._structured(old, new)
        differing = _differing(old, new)
        if not all(_has_parts(before, value) for _, before, value in differing):
            return self.wrap(new)
        made = copy.copy(new)
        for name, before, value in differing:
            setattr(made, name, self._parts(before, value))
        return made

    def _parts(self, old: Any, new: Any) -> Any:
        """A field of an expression with marks inside."""
        if not isinstance(new, list):
            return self._expression(old, new)
        return [self._part(one, other) for one, other in zip(old, new, strict=True)]

    def _part(self, old: Any, new: Any) -> Any:
        if _same(old, new):
            return new
        if isinstance(new, ast.keyword):
            return ast.copy_location(ast.keyword(new.arg, self._expression(old.value, new.value)), new)
        return self._expression(old, new)

    def _structured(self, old: Any, new: Any) -> ast.expr:
        """A lambda or comprehension: what matters is whether its inner part runs."""
        made = copy.copy(new)
        if isinstance(new, ast.Lambda):
            if not _same(old.args, new.args):
                return self.wrap(new)
            made.body = self._expression(old.body, new.body)
        elif isinstance(new, ast.DictComp):
            made.value = self.wrap(new.value)
        elif _same(old.generators, new.generators):
            made.elt = self._expression(old.elt, new.elt)
        else:
            made.elt = self.wrap(new.elt)
        return made  # type: ignore[no-any-return]

    def wrap(self, node: ast.expr) -> ast.expr:
        """The expression, counted once its value is there."""
        return self.call(self._mark(node, f"'{self._inside or title(node)}'"), "at", node, node)

    # ---- marks -----------------------------------------------------------------------------

    def _note(self, node: ast.stmt, what: str = "") -> ast.stmt:
        """A statement that counts."""
        where = f"{what} line {node.lineno}".strip() if what else f"'{title(node)}'"
        return _statement(self.call(self._mark(node, where), "at", None, node))

    def note(self, node: ast.stmt) -> ast.stmt:
        return self._note(node)

    def _mark(self, node: ast.AST, where: str) -> Mark:
        name = "" if isinstance(node, FUNCTIONS) else f"{where} in "
        return self._marks.add(Mark(f"{name}{self._path}()", self._guards))

    def _helper(self) -> Mark:
        return self._marks.add(Mark(""), helps=True)

    def call(self, mark: Mark, method: str, argument: ast.expr | None, place: ast.AST) -> ast.expr:
        target = ast.Attribute(ast.Constant(self._marks.tag(mark)), method, ast.Load())
        call = ast.Call(target, [] if argument is None else [argument], [])
        return _located(call, place)

    def _depends_on_params(self, test: ast.expr) -> bool:
        """Whether it reads attributes of something called params, and nothing else."""
        if not all(isinstance(part, _PARAMS_TEST) for part in ast.walk(test)):
            return False
        reads = [part for part in ast.walk(test) if isinstance(part, (ast.Attribute, ast.Name))]
        roots = list(_params_roots(test))
        inside = {id(part) for root in roots for part in ast.walk(root)}
        return bool(roots) and all(
            id(part) in inside or (isinstance(part, ast.Attribute) and _params_root(part) is not None) for part in reads
        )


class _Reads(ast.NodeTransformer):
    """Wraps every node that reads something."""

    def __init__(self, marking: Marking, is_read: Callable[[ast.AST], bool]) -> None:
        self._marking = marking
        self._is_read = is_read

    def visit(self, node: ast.AST) -> Any:
        is_read = self._is_read(node)
        made = self.generic_visit(node)
        if is_read and isinstance(made, ast.expr):
            return self._marking.wrap(made)
        if is_read and isinstance(made, ast.stmt):
            return [made, self._marking.note(made)]
        return made


class _ParamsReads(ast.NodeTransformer):
    """Counts what a test reads from params, and looks whether it is params."""

    def __init__(self, marking: Marking, mark: Mark) -> None:
        self._marking = marking
        self._mark = mark

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        root = node.value
        if _is_params(root):
            node.value = self._marking.call(self._mark, "params", root, root)
            return node
        return self.generic_visit(node)


def _params_roots(test: ast.expr) -> Iterator[ast.expr]:
    for part in ast.walk(test):
        if isinstance(part, ast.Attribute) and _is_params(part.value):
            yield part.value


def _params_root(node: ast.expr) -> ast.expr | None:
    while isinstance(node, ast.Attribute):
        node = node.value
        if _is_params(node):
            return node
    return None


def _is_params(node: ast.expr) -> bool:
    """``params``, ``self.params`` or ``self._params``."""
    match node:
        case ast.Name(name) | ast.Attribute(ast.Name("self"), name):
            return name in _PARAMS_NAMES
    return False


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _aligned(
    old: Sequence[ast.stmt], new: Sequence[ast.stmt]
) -> Iterator[tuple[Sequence[ast.stmt], Sequence[ast.stmt], int]]:
    """Pairs of one statement each, and runs of statements that replace others; with the index in the new block."""
    for how, start, end, first, last in _opcodes(old, new, ast.dump):
        if how == "equal":
            yield from (([one], [other], first) for one, other in zip(old[start:end], new[first:last], strict=True))
            continue
        olds, news = old[start:end], new[first:last]
        for inner, one, other, here, there in _opcodes(olds, news, _kind):
            if inner == "equal":
                yield from (([olds[one + i]], [news[here + i]], first + here + i) for i in range(other - one))
            else:
                yield olds[one:other], news[here:there], first + here


def _opcodes(
    old: Sequence[ast.stmt], new: Sequence[ast.stmt], key: Callable[[ast.stmt], str]
) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, [key(node) for node in old], [key(node) for node in new], autojunk=False).get_opcodes()


def _kind(node: ast.stmt) -> str:
    """Equal for statements of which one can be a new version of the other."""
    match node:
        case ast.Assign(targets) | ast.Delete(targets):
            return type(node).__name__ + ",".join(map(ast.dump, targets))
        case ast.AugAssign(target) | ast.AnnAssign(target):
            return type(node).__name__ + ast.dump(target)
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            return f"{type(node).__name__} {name}"
        case ast.Expr(ast.Call(func=func)):
            return f"Call {_root(func)}"
    return type(node).__name__


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, ast.AST) and isinstance(new, ast.AST):
        return ast.dump(old) == ast.dump(new)
    return type(old) is type(new) and repr(old) == repr(new)


def _differing(old: ast.AST, new: ast.AST) -> list[tuple[str, Any, Any]]:
    """Fields of two nodes of one kind that differ: name, old and new value."""
    fields = ((name, getattr(old, name), value) for name, value in ast.iter_fields(new))
    return [(name, before, value) for name, before, value in fields if not _same(before, value)]


def _is_markable(old: Any, new: Any) -> bool:
    """Whether a field of a statement can have marks inside."""
    if _is_readable(old) and _is_readable(new):
        return True
    if not isinstance(old, list) or not isinstance(new, list) or not old or not new:
        return False
    if _is_block(old) and _is_block(new):
        return True
    clauses = all(isinstance(part, (ast.ExceptHandler, ast.match_case)) for part in (*old, *new))
    return clauses and list(map(_without_body, old)) == list(map(_without_body, new))


def _has_parts(old: Any, new: Any) -> bool:
    """Whether a field of an expression can have marks inside."""
    if not isinstance(new, list) or not isinstance(old, list):
        return _is_readable(old) and _is_readable(new)
    return len(old) == len(new) and all(
        _same(one, other)
        or (_is_readable(one) and _is_readable(other))
        or (isinstance(one, ast.keyword) and isinstance(other, ast.keyword) and one.arg == other.arg)
        for one, other in zip(old, new, strict=True)
    )


def _without_body(clause: Any) -> list[str]:
    return [
        repr(value) if not isinstance(value, ast.AST) else ast.dump(value)
        for name, value in ast.iter_fields(clause)
        if name != "body"
    ]


def _targets(node: ast.stmt) -> set[str]:
    """What a statement sets besides local names."""
    stored = (part for part in ast.walk(node) if isinstance(part, (ast.Attribute, ast.Subscript)))
    return {ast.dump(part) for part in stored if isinstance(part.ctx, (ast.Store, ast.Del))}


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, ast.stmt) for part in value)


def _is_readable(value: Any) -> bool:
    """An expression that can be wrapped in a call."""
    context = getattr(value, "ctx", None)
    return (
        isinstance(value, ast.expr)
        and not isinstance(value, _CANNOT_WRAP)
        and isinstance(context, (ast.Load, type(None)))
    )


def _statement(call: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Expr(call), call)


def _located(made: ast.expr, place: ast.AST) -> ast.expr:
    """The made nodes get the place's first line: of a call over several lines the compiler takes the last one."""
    for part in ast.walk(made):
        if not hasattr(part, "lineno") and isinstance(part, (ast.expr, ast.stmt)):
            ast.copy_location(part, place)
            part.end_lineno, part.end_col_offset = part.lineno, part.col_offset
    return made

"""Pairs: which code object of the new text takes the place of which one that runs."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType

from .change import FunctionChange, ModuleChange
from .outline import FUNCTIONS, Unit, first_line
from .signature import parameters

_WRAPPERS = "<generic parameters of "  # from Python 3.12 on, around what has type parameters


@dataclass(frozen=True, slots=True)
class Nested:
    """A function or lambda within a function: an object of it may be kept somewhere.

    Attributes:
        same_call: parameters and defaults are those that they were.
        outer: the label of the function that makes it.
    """

    old: CodeType
    new: CodeType | None
    changed: bool
    same_call: bool
    outer: str


@dataclass(slots=True)
class CodePairs:
    """All code objects of one module that have a successor.

    Attributes:
        functions: those of functions and methods.
        nested: those of what is defined within functions; without a successor if it is gone.
        plain: lambdas of statements that have not changed.
        bodies: class bodies within functions that have changed: the class' own functions, and who makes it.
    """

    functions: list[tuple[FunctionChange, CodeType, CodeType]] = field(default_factory=list)
    nested: list[Nested] = field(default_factory=list)
    plain: list[tuple[CodeType, CodeType]] = field(default_factory=list)
    bodies: list[tuple[list[CodeType], str]] = field(default_factory=list)


def pair_codes(change: ModuleChange, old: CodeType, new: CodeType) -> CodePairs:
    """Match the code objects of a module's two versions by the statements that they come from."""
    pairs = CodePairs()
    _Pairing(change, pairs).body((), old, new)
    return pairs


class _Pairing:
    def __init__(self, change: ModuleChange, pairs: CodePairs) -> None:
        self._pairs = pairs
        self._units: dict[tuple[str, ...], list[tuple[Unit, Unit]]] = defaultdict(list)
        for owner, old, new in change.pairs:
            self._units[owner].append((old, new))
        self._functions = {id(item.new): item for item in change.functions}
        self._texts = (_texts(change.old), _texts(change.new))

    def body(self, owner: tuple[str, ...], old: CodeType, new: CodeType) -> None:
        for before, after in self._units[owner]:
            olds, news = _within(old, before), _within(new, after)
            own = _own(olds, before), _own(news, after)
            if own[0] is not None and own[1] is not None:
                olds.remove(own[0])
                news.remove(own[1])
                if isinstance(after.node, ast.ClassDef):
                    self.body((*owner, after.name), own[0], own[1])
                else:
                    self._function(self._functions[id(after.node)], own[0], own[1])
            if len(olds) == len(news):  # lambdas in decorators, defaults and values, none of which has changed
                for one, other in zip(olds, news, strict=True):
                    self._pairs.plain.append((one, other))
                    self._inside(one, other, False, "")

    def _function(self, item: FunctionChange, old: CodeType, new: CodeType) -> None:
        self._pairs.functions.append((item, old, new))
        self._inside(old, new, item.changed, f"{item.place.path}()")

    def _inside(self, old: CodeType, new: CodeType, changed: bool, outer: str) -> None:
        for before, after in _match(_children(old), _children(new), changed):
            if after is None:
                self._pairs.nested.append(Nested(before, None, True, False, outer))
                continue
            differs = changed and _shape(before) != _shape(after)
            same_call = not changed or self._same_call(before, after)
            if not _is_class_body(before):
                self._pairs.nested.append(Nested(before, after, differs, same_call, outer))
            elif not same_call:
                self._pairs.bodies.append((_children(before), outer))
            self._inside(before, after, differs, outer)

    def _same_call(self, old: CodeType, new: CodeType) -> bool:
        texts = [
            known.get((code.co_name, code.co_firstlineno)) for known, code in zip(self._texts, (old, new), strict=True)
        ]
        return texts[0] is not None and texts[0] == texts[1]


def own_code(code: CodeType, owner: tuple[str, ...], unit: Unit) -> CodeType | None:
    """The code object of what a statement defines, in a class of that path; None if it defines none."""
    for name in owner:
        inside = next((child for child in _unwrapped(code) if child.co_name == name and _is_class_body(child)), None)
        if inside is None:
            return None
        code = inside
    return _own(_within(code, unit), unit)


def _children(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _unwrapped(code: CodeType) -> Iterator[CodeType]:
    for child in _children(code):
        if child.co_name.startswith(_WRAPPERS):
            yield from _unwrapped(child)
        else:
            yield child


def _within(code: CodeType, unit: Unit) -> list[CodeType]:
    return [child for child in _unwrapped(code) if unit.first_line <= child.co_firstlineno <= unit.last_line]


def _own(codes: Sequence[CodeType], unit: Unit) -> CodeType | None:
    """The code object of the function or class that the statement defines."""
    if unit.kind not in ("function", "class"):
        return None
    for code in codes:
        if code.co_name == unit.name and code.co_firstlineno == unit.first_line:
            return code
    return None


def _match(
    olds: Sequence[CodeType], news: Sequence[CodeType], changed: bool
) -> Iterator[tuple[CodeType, CodeType | None]]:
    """Each old code object with its successor: the same thing first, then the next of its name."""
    if not changed and len(olds) == len(news):
        yield from zip(olds, news, strict=True)
        return
    by_name: dict[str, list[CodeType]] = defaultdict(list)
    for code in news:
        by_name[code.co_name].append(code)
    waiting: dict[str, list[CodeType]] = defaultdict(list)
    for code in olds:
        twin = next((other for other in by_name[code.co_name] if _shape(other) == _shape(code)), None)
        if twin is None:
            waiting[code.co_name].append(code)
        else:
            by_name[code.co_name].remove(twin)
            yield code, twin
    for name, codes in waiting.items():
        left = by_name[name]
        for position, code in enumerate(codes):
            yield code, left[position] if len(left) == len(codes) else None


def _shape(code: CodeType) -> tuple[object, ...]:
    """What a code object does, apart from where its lines are."""
    constants = tuple((type(value), repr(value)) for value in code.co_consts if not isinstance(value, CodeType))
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    handlers = getattr(code, "co_exceptiontable", b"")  # from Python 3.11 on
    return (names, counts, constants, code.co_code, handlers, tuple(_shape(child) for child in _children(code)))


def _is_class_body(code: CodeType) -> bool:
    return "__qualname__" in code.co_names and not code.co_flags & 0x2  # no CO_NEWLOCALS: names go into a namespace


def _texts(tree: ast.Module) -> dict[tuple[str, int], str]:
    """(name, first line) -> how a function is called, or what is in a class besides its functions' code."""
    found: dict[tuple[str, int], str] = {}
    several: set[tuple[str, int]] = set()
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            key, text = (node.name, first_line(node)), parameters(node)
        elif isinstance(node, ast.Lambda):
            key, text = ("<lambda>", node.lineno), ast.dump(node.args)
        elif isinstance(node, ast.ClassDef):
            key, text = (node.name, first_line(node)), _members(node)
        else:
            continue
        if found.setdefault(key, text) != text:
            several.add(key)
    return {key: text for key, text in found.items() if key not in several}


def _members(node: ast.ClassDef) -> str:
    head = [ast.dump(part) for part in (*node.bases, *node.keywords, *node.decorator_list)]
    for part in node.body:
        if isinstance(part, FUNCTIONS):
            head += [part.name, parameters(part), *(ast.dump(decorator) for decorator in part.decorator_list)]
        else:
            head.append(ast.dump(part))
    return "\n".join(head)

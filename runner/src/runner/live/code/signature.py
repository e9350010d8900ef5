"""What a changed function needs besides its code: defaults and annotations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .literal import NotPlainError, plain_value
from .outline import FunctionNode


class UnclearDefaultError(ValueError):
    """A default has changed, and only executing the definition would tell its value. The text is the parameter."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The value that a parameter of that name has as its default now."""

    name: str


@dataclass(frozen=True, slots=True)
class Given:
    value: Any


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of a function's new version: of positional parameters from the right, and of keyword-only ones."""

    positional: tuple[Kept | Given, ...]
    keyword: dict[str, Kept | Given]


def new_defaults(old: FunctionNode, new: FunctionNode) -> Defaults | None:
    """None if they stay as they are.

    Raises:
        UnclearDefaultError: one that has changed is no plain constant.
    """
    before = dict(_defaults(old.args))
    after = dict(_defaults(new.args))
    if [*before] == [*after] and _dumps(before) == _dumps(after):
        return None
    chosen: dict[str, Kept | Given] = {}
    for name, node in after.items():
        if name in before and ast.dump(before[name]) == ast.dump(node):
            chosen[name] = Kept(name)
            continue
        try:
            chosen[name] = Given(plain_value(node))
        except NotPlainError as error:
            raise UnclearDefaultError(name) from error
    keywords = {argument.arg for argument in new.args.kwonlyargs}
    positional = tuple(value for name, value in chosen.items() if name not in keywords)
    return Defaults(positional, {name: value for name, value in chosen.items() if name in keywords})


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    """Parameter -> default, in order."""
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    for argument, node in zip(positional[first:], arguments.defaults, strict=True):
        yield argument.arg, node
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield argument.arg, default


def _dumps(nodes: dict[str, ast.expr]) -> list[str]:
    return [ast.dump(node) for node in nodes.values()]


def annotations_of(node: FunctionNode) -> dict[str, ast.expr]:
    """Parameter (or "return") -> annotation, as ``__annotations__`` names them."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    found = {argument.arg: argument.annotation for argument in every if argument and argument.annotation}
    if node.returns is not None:
        found["return"] = node.returns
    return found


def same_annotations(old: FunctionNode, new: FunctionNode) -> bool:
    before, after = annotations_of(old), annotations_of(new)
    return [*before] == [*after] and _dumps(before) == _dumps(after)


def parameters(node: FunctionNode) -> str:
    """Names, kinds, defaults and annotations: equal where two versions are called and inspected alike."""
    returns = ast.dump(node.returns) if node.returns is not None else ""
    return ast.dump(node.args) + returns

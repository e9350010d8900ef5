"""Literals: expressions whose value can be told by looking at them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

_LARGEST = 4096  # of a sequence or a power: beyond it nobody writes constants, and a typo must not hang us

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


class NotPlainError(ValueError):
    """An expression is no plain constant."""


def plain_value(node: ast.expr) -> Any:
    """The value of an immutable literal: numbers, strings, bytes, None, booleans, tuples and arithmetic of those.

    Raises:
        NotPlainError: it is something else, or cannot be computed.
    """
    match node:
        case ast.Constant(value):
            return value
        case ast.Tuple(elements):
            return tuple(plain_value(element) for element in elements)
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _compute(_UNARY[type(op)], plain_value(operand))
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            values = plain_value(left), plain_value(right)
            _check_size(op, *values)
            return _compute(_BINARY[type(op)], *values)
    raise NotPlainError(ast.unparse(node))


def is_plain(node: ast.expr | None) -> bool:
    if node is None:
        return False
    try:
        plain_value(node)
    except NotPlainError:
        return False
    return True


def is_display(node: ast.expr) -> bool:
    """Whether it is plain, or a list, dict, set or tuple of such: a value that depends on nothing else."""
    match node:
        case ast.List(elements) | ast.Set(elements) | ast.Tuple(elements):
            return all(is_display(element) for element in elements)
        case ast.Dict(keys, values):
            return all(key is not None and is_display(key) for key in keys) and all(map(is_display, values))
    return is_plain(node)


def same_value(one: object, other: object) -> bool:
    """Equal to the bit, as far as plain values go: 1 is not True, 0.0 is not -0.0, and nan is nan."""
    return type(one) is type(other) and repr(one) == repr(other)


def _compute(function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise NotPlainError(str(error)) from error


def _check_size(op: ast.operator, left: Any, right: Any) -> None:
    numbers = isinstance(left, (int, float, complex)) and isinstance(right, (int, float, complex))
    if isinstance(op, (ast.Pow, ast.LShift)) and numbers:
        if abs(right) > _LARGEST or abs(left) > 2**64:
            raise NotPlainError("too large")
    elif isinstance(op, (ast.Mult, ast.Mod)) and not numbers:
        sizes = [len(value) if isinstance(value, (str, bytes, tuple)) else value for value in (left, right)]
        if not all(isinstance(size, int) for size in sizes):
            raise NotPlainError("no arithmetic")
        if isinstance(op, ast.Mod) or sizes[0] * sizes[1] > _LARGEST:
            raise NotPlainError("too large, or formatted text")

"""Marks: counters that are compiled into changed code for a few frames.

A mark sits at the smallest statement or expression that differs: in ``if self.lut is None: self.lut = build(4)`` the
function runs on every frame, and the changed part does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType
from typing import Any

_TAG = "runner mark"  # with a number: stands for a mark until the code is compiled


class Mark:
    """Counter at one place of the code.

    Attributes:
        where: the place, for messages.
        count: how often that place ran.
        only_params: at a branch's condition: each value it depends on was read from params.
        guards: branches around the place.
    """

    def __init__(self, where: str, guards: tuple[Branch, ...] = ()) -> None:
        self.where = where
        self.guards = guards
        self.count = 0
        self.only_params = True

    def at(self, value: Any = None) -> Any:
        """Count, and return the value; called by marked code, on any thread."""
        self.count += 1
        return value

    def params(self, value: Any) -> Any:
        """Count a read from what should be the params, and return the value."""
        self.count += 1
        self.only_params = self.only_params and hasattr(type(value), "model_fields")
        return value


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that depends on the params alone. `test`, `inside`: marks at its condition and in it."""

    test: Mark
    inside: Mark

    @property
    def not_taken(self) -> bool:
        """Whether the condition was evaluated on nothing but params, and the branch did not run."""
        return self.test.count > 0 and self.test.only_params and self.inside.count == 0


class Marks:
    """All marks of one patch.

    Attributes:
        changes: those that must run on each frame. Others are at conditions, and explain why one of them did not.
    """

    def __init__(self) -> None:
        self.changes: list[Mark] = []
        self._all: list[Mark] = []

    def add(self, mark: Mark, *, helps: bool = False) -> Mark:
        self._all.append(mark)
        if not helps:
            self.changes.append(mark)
        return mark

    def tag(self, mark: Mark) -> Any:
        """A constant that stands for a mark in a syntax tree, which cannot have other objects."""
        return (_TAG, self._all.index(mark))

    def put_into(self, code: CodeType) -> CodeType:
        """Compiled code with the marks in place of the constants that stand for them."""
        return code.replace(co_consts=tuple(map(self._constant, code.co_consts)))

    def _constant(self, value: Any) -> Any:
        if isinstance(value, CodeType):
            return self.put_into(value)
        if isinstance(value, tuple) and len(value) == 2 and value[0] == _TAG:
            return self._all[value[1]]
        return value

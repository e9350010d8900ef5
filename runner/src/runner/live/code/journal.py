"""Journal: changes of live objects that can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

_MISSING: Any = object()


class Journal:
    """Makes changes and remembers how things were; `roll_back` goes through it from the end."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def on_roll_back(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def roll_back(self) -> None:
        """Everything is as it was; safe to call twice."""
        while self._undo:
            self._undo.pop()()

    def clear(self) -> None:
        """There is no way back any more."""
        self._undo.clear()

    def set_function(self, function: FunctionType, attribute: str, value: Any) -> None:
        """One of ``__code__``, ``__defaults__``, ``__kwdefaults__``, ``__annotations__`` and ``__doc__``."""
        before = getattr(function, attribute)
        setattr(function, attribute, value)
        self._undo.append(lambda: setattr(function, attribute, before))

    def set_name(self, names: dict[str, Any], name: str, value: Any) -> None:
        """A name of a module."""
        self.note_name(names, name)
        names[name] = value

    def delete_name(self, names: dict[str, Any], name: str) -> None:
        self.note_name(names, name)
        names.pop(name, None)

    def note_name(self, names: dict[str, Any], name: str) -> None:
        """Somebody is about to set it."""
        before = names.get(name, _MISSING)

        def undo() -> None:
            if before is _MISSING:
                names.pop(name, None)
            else:
                names[name] = before

        self._undo.append(undo)

    def set_member(self, of: type, name: str, value: Any) -> None:
        """A name of a class, past anything that its metaclass may do about that."""
        before = vars(of).get(name, _MISSING)
        type.__setattr__(of, name, value)
        self._undo.append(lambda: _restore_member(of, name, before))


def _restore_member(of: type, name: str, before: Any) -> None:
    if before is not _MISSING:
        type.__setattr__(of, name, before)
    elif name in vars(of):
        type.__delattr__(of, name)

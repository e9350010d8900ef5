"""Params classes: another default of a field, in the class that lives."""

from __future__ import annotations

from typing import Any

from .change import ConstantChange
from .journal import Journal
from .literal import same_value
from .names import UserCode
from .refusal import PatchRefused


def check_default(of: Any, constant: ConstantChange, code: UserCode, path: str) -> None:
    """Raises PatchRefused if the default may be in use in another way than by the params in force."""
    line = constant.node.lineno
    field = of.model_fields.get(constant.name)
    if field is None or not same_value(field.default, constant.old):
        raise PatchRefused(f"the default of {constant.path} was changed while it runs", path, line)
    if of.__subclasses__():
        raise PatchRefused(
            f"the default of {constant.path} is inherited by {of.__subclasses__()[0].__name__}", path, line
        )
    code.check_not_made(of.__name__, constant.name, constant.path)


def change_default(of: Any, name: str, value: Any, journal: Journal) -> None:
    """Give a field another default; instances that exist keep their values."""
    field = of.model_fields[name]
    before = field.default
    _set_default(of, name, value)
    journal.on_roll_back(lambda: _set_default(of, name, before))


def _set_default(of: Any, name: str, value: Any) -> None:
    of.model_fields[name].default = value
    of.model_rebuild(force=True)

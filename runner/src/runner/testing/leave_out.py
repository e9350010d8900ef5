"""Checks that have nothing to check are not collected, so that nobody reads that they were skipped."""

from __future__ import annotations

from collections.abc import Mapping


def leave_out(cls: type, contract: type, optional: Mapping[str, str]) -> None:
    """Take those tests of `contract` out of its subclass `cls` for which it names nothing.

    Args:
        optional: name of a test -> name of the attribute that has to be there for it.
    """
    for test, attribute in optional.items():
        if not getattr(cls, attribute):
            setattr(cls, test, None)
        elif getattr(cls, test) is None:  # a class between the two had nothing to check
            setattr(cls, test, getattr(contract, test))

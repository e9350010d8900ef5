"""Closure: which distributions a package needs on a target, found by walking metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import ExportError
from .inventory import canonical
from .target import Target

# What a distribution of this name requires, as its metadata says; None: not known yet.
RequiresOf = Callable[[str], tuple[str, ...] | None]


@dataclass(slots=True)
class Wanted:
    """A distribution that something needs.

    Attributes:
        requirements: what each that needs it says of its version.
        by: names of those, in the order in which they were met.
        extras: optional parts of it that are needed.
    """

    name: str
    requirements: list[Requirement] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    extras: set[str] = field(default_factory=set)

    @property
    def specifier(self) -> str:
        """All version conditions, for a requirement line."""
        parts = {str(one) for requirement in self.requirements for one in requirement.specifier}
        return ",".join(sorted(parts))

    def refusal(self, version: str) -> str:
        """Who does not take this version, in words; empty: all do."""
        for requirement, who in zip(self.requirements, self.by, strict=True):
            if requirement.specifier and not requirement.specifier.contains(version, prereleases=True):
                return f"{who} needs {self.name}{requirement.specifier}"
        return ""


def walk(roots: Iterable[tuple[str, str]], requires_of: RequiresOf, target: Target) -> dict[str, Wanted]:
    """Everything that the roots need on the target, the roots included.

    Args:
        roots: requirement lines, each with the name of what asks for it.
        requires_of: where metadata comes from; what is not known is not gone into.

    Raises:
        ExportError: a line is no requirement, or names a URL.
    """
    wanted: dict[str, Wanted] = {}
    waiting = list(roots)
    done: set[tuple[str, str, str]] = set()
    while waiting:
        line, by = waiting.pop(0)
        requirement = _parsed(line, by)
        name = canonical(requirement.name)
        found = wanted.setdefault(name, Wanted(name))
        if (line, by) not in {(str(one), who) for one, who in zip(found.requirements, found.by, strict=True)}:
            found.requirements.append(requirement)
            found.by.append(by)
        found.extras |= requirement.extras
        for extra in ("", *sorted(found.extras)):
            waiting += [(each, name) for each in _active(requires_of(name) or (), extra, name, target, done)]
    return wanted


def _active(
    lines: tuple[str, ...], extra: str, name: str, target: Target, done: set[tuple[str, str, str]]
) -> list[str]:
    """Those lines that hold on the target with this extra, and were not met before."""
    active = []
    for line in lines:
        if (name, line, extra) in done:
            continue
        done.add((name, line, extra))
        marker = _parsed(line, name).marker
        if marker is None:
            if not extra:
                active.append(line)
        elif marker.evaluate({**target.markers, "extra": extra}):
            active.append(line)
    return active


def _parsed(line: str, by: str) -> Requirement:
    try:
        return Requirement(line)
    except InvalidRequirement as error:
        raise ExportError(f"{by} asks for '{line}', which is no requirement that can be read: {error}") from error

"""Links on the path of a file: where they are, and where they lead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40  # as Linux; then they lead in a circle


def links_on(path: Path) -> Iterator[Path]:
    """Every symbolic link that is followed to get to `path`, by a name without other links before it."""
    left = list(reversed(path.parts))
    place = Path(left.pop())
    found = 0
    while left and found < _MOST_LINKS:
        part = left.pop()
        if part == os.pardir:
            place = place.parent
            continue
        try:
            target = os.readlink(place / part)
        except OSError:  # no link, or nothing at all
            place /= part
            continue
        found += 1
        yield place / part
        if os.path.isabs(target):
            place = Path(Path(target).anchor)
        left += [part for part in reversed(Path(target).parts) if part != Path(target).anchor]


def target_of(link: Path) -> str:
    """Where a link leads; "" if it is none, or gone."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def put_in_place_at(path: Path) -> float:
    """When `path` came to be what it is, in seconds since the epoch: it was written, or a link to it made."""
    times = [0.0]
    for name, follow in ((path, True), *((link, False) for link in links_on(path))):
        try:
            times.append(os.stat(name, follow_symlinks=follow).st_mtime)
        except OSError:
            continue
    return max(times)

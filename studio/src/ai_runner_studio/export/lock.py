"""``uv.lock``: the project's own pins, with the hashes of every file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.markers import Marker

from ..errors import ExportError
from .inventory import canonical
from .plan import Requirement
from .target import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "uv.lock"


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock.

    Attributes:
        requires: as requirement lines, with the markers that the lock gives them.
        wheels: file name -> ``sha256:<hex>``.
        source: where it is from, in uv's word: ``registry``, ``git``, ``url``, ``path``.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    wheels: dict[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file, without the packages that it takes from folders: these are built.

    Attributes:
        packages: canonical name -> what is locked.
    """

    path: Path
    packages: dict[str, Locked]

    def pin(self, name: str, target: Target) -> Requirement:
        """The package with the hashes of those files that fit the target.

        Raises:
            ExportError: it has no wheel for it, or is from where no image can take it.
        """
        locked = self.packages[name]
        if locked.source != "registry":
            raise ExportError(
                f"{NAME} takes {name} from a {locked.source}, which cannot be pinned for an image",
                "take a release from an index, or clone it and depend on that folder: its wheel comes with the context",
            )
        hashes = sorted(digest for wheel, digest in locked.wheels.items() if target.takes(wheel))
        if not hashes:
            raise ExportError(
                f"{NAME} has no wheel of {name} {locked.version} for Python {target.python} on {target.platform}",
                "take a version that has one and lock again, or another --python-version or --platform",
            )
        return Requirement(name=name, version=locked.version, hashes=tuple(hashes), origin="uv.lock")


def find_lock(folder: Path, target: Target) -> Lock | None:
    """The lock of a package: beside it, or further up in its workspace. None where there is none.

    Raises:
        ExportError: it cannot be read.
    """
    for place in (folder, *folder.parents):
        if (place / NAME).is_file():
            return _read(place / NAME, target)
        if (place / ".git").exists():
            break
    return None


def _read(path: Path, target: Target) -> Lock:
    try:
        tables: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("package", [])
        locked = [_locked(table) for table in tables if _is_for(table, target) and not _is_folder(table)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} cannot be read: {error}", "make it again: uv lock") from error
    return Lock(path, {one.name: one for one in locked})


def _is_for(table: dict[str, Any], target: Target) -> bool:
    """A lock may hold several entries of one name, each for some machines."""
    markers = table.get("resolution-markers")
    return not markers or any(Marker(marker).evaluate({**target.markers}) for marker in markers)


def _is_folder(table: dict[str, Any]) -> bool:
    return not {"editable", "directory", "virtual"}.isdisjoint(table["source"])


def _locked(table: dict[str, Any]) -> Locked:
    lines = [_line(one) for one in table.get("dependencies", [])]
    for extra, entries in table.get("optional-dependencies", {}).items():
        lines += [_line(one, f"extra == '{extra}'") for one in entries]
    return Locked(
        name=canonical(table["name"]),
        version=table["version"],
        requires=tuple(lines),
        wheels={_file(wheel): wheel["hash"] for wheel in table.get("wheels", []) if "hash" in wheel},
        source=next(iter(table["source"])),
    )


def _file(wheel: dict[str, str]) -> str:
    place = wheel.get("url") or wheel.get("path") or wheel["filename"]
    return unquote(place.rpartition("/")[2])


def _line(entry: dict[str, Any], condition: str = "") -> str:
    """A dependency of the lock as a requirement line; its version is the one that the lock has."""
    extras = f"[{','.join(entry['extra'])}]" if entry.get("extra") else ""
    marker = entry.get("marker", "")
    both = f"({marker}) and {condition}" if marker and condition else marker or condition
    return f"{entry['name']}{extras}" + (f" ; {both}" if both else "")

"""Fingerprints: what the watched files held when they were last looked at."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .links import put_in_place_at

# Larger files (weights beside the code) are told apart by size and time alone: reading them would hold up a reload.
LARGEST_HASHED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One file at one moment.

    Attributes:
        stamp: size, modification time in ns, inode and device; equal stamps are taken for equal content.
        digest: of the content; of the stamp for files above `LARGEST_HASHED_BYTES`.
        empty: no content: an editor may be between truncating and writing.
    """

    stamp: tuple[int, int, int, int]
    digest: bytes
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the watched files has found.

    Attributes:
        changed: files whose content is not what it was.
        hollow: files that were there, with content, and are gone or empty now: perhaps in the middle of a save.
    """

    changed: set[Path] = field(default_factory=set)
    hollow: set[Path] = field(default_factory=set)


def take(path: Path, known: Fingerprint | None = None, look_inside: bool = False) -> Fingerprint | None:
    """The fingerprint of a file, None where there is no readable file.

    Args:
        known: the last one; its digest is reused while the stamp is the same.
        look_inside: compare content although the stamp is the same. Two writes within one tick of the file
            system's clock have the same stamp.
    """
    try:
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
        if known and known.stamp == stamp and not look_inside:
            return known
        if status.st_size > LARGEST_HASHED_BYTES:
            return Fingerprint(stamp, repr(stamp[:2]).encode())
        content = path.read_bytes()
    except OSError:
        return None
    return Fingerprint(stamp, hashlib.blake2b(content, digest_size=16).digest(), empty=not content)


class Fingerprints:
    """The last fingerprint of every watched file; says which files have changed since."""

    def __init__(self) -> None:
        self._known: dict[Path, Fingerprint | None] = {}
        self._expected: set[Path] = set()

    def __len__(self) -> int:
        return len(self._known.keys() - self._expected)

    def __contains__(self, path: Path) -> bool:
        return path in self._known

    def paths(self) -> list[Path]:
        """The watched files."""
        return list(self._known)

    def set_paths(
        self, paths: Iterable[Path], newer_than: float | None = None, expected: Collection[Path] = ()
    ) -> None:
        """Watch exactly these files. What is known of those already watched stays.

        Args:
            newer_than: seconds since the epoch; a file that is new here and was written (or a link to it made) after
                that counts as changed at the next `look`.
            expected: files that do not exist. One that does some day counts as changed, although it is empty.
        """
        now_s = time.time()
        known: dict[Path, Fingerprint | None] = {}
        for path in paths:
            if path in self._known:
                known[path] = self._known[path]
                continue
            found = take(path)
            # A time in the future (a clock that is off) would make the file newer than every load.
            if found and newer_than is not None and newer_than < put_in_place_at(path) <= now_s:
                found = None
            known[path] = found
        self._expected = {path for path in expected if path not in known and self._may_come(path, newer_than)}
        known.update((path, self._known.get(path)) for path in self._expected)
        self._known = known

    def _may_come(self, path: Path, newer_than: float | None) -> bool:
        """Whether it was expected already, does not exist, or has come since."""
        if path in self._known or not path.exists():
            return True
        return newer_than is not None and put_in_place_at(path) > newer_than

    def add_missing(self, paths: Iterable[Path]) -> None:
        """Watch these files too; a new one counts as changed at the next `look`."""
        for path in paths:
            self._known.setdefault(path, None)

    def look(self, paths: Iterable[Path] | None = None, named: Collection[Path] = ()) -> Look:
        """Which files have another content; the new content is known from now on.

        A file that is gone or empty now is left as it was: see `settle`.

        Args:
            paths: look at these watched files only. None: at all.
            named: files that the file system has named: their content is compared although their stamp is the same.
        """
        found = Look()
        for path in self._known if paths is None else paths:
            known = self._known[path]
            now = take(path, known, look_inside=path in named)
            if now is None or (now.empty and not (known and known.empty)):
                if (known and not known.empty) or (now and path in self._expected):
                    found.hollow.add(path)
                continue
            if known is None or now.digest != known.digest:
                found.changed.add(path)
            self._known[path] = now
        return found

    def settle(self, paths: Iterable[Path]) -> set[Path]:
        """Take the state of these files as it is now; says which of them are still gone or empty."""
        found: set[Path] = set()
        for path in paths:
            if path in self._known and ((now := take(path)) is None or now.empty):
                self._known[path] = now
                found.add(path)
        return found

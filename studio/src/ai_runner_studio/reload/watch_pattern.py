"""WatchPattern: files beyond those that the pipeline imported, named by a file, a folder or a glob."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Names that no one edits by hand, and what editors leave beside a file while it is being saved.
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_IGNORED_FILE = re.compile(r"\.py[cod]$|~$|\.sw.$|\.tmp$|^\.#|^#.*#$|^4913$|^\.DS_Store$|^flycheck_|___jb_\w+___$")

# A data set below a watched folder is not worth a watch on each of its folders.
MOST_FOLDERS = 1_000
MOST_FILES = 5_000

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """What a pattern names at the moment.

    Attributes:
        files: those that match. folders: those to watch for new ones.
        cut: there was more than `MOST_FOLDERS` or `MOST_FILES`.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class WatchPattern:
    """A file, a folder (all files in it, at any depth) or a glob with ``*``, ``?`` and ``**``.

    Attributes:
        base: the folder to start from, or the file. glob: relative to `base`; empty for one file.
    """

    base: Path
    glob: str

    @classmethod
    def parse(cls, text: str, project: Path) -> WatchPattern:
        """A pattern as given by ``--watch``; a relative one starts at `project`."""
        path = Path(os.path.abspath(project / Path(text).expanduser()))
        parts = path.parts
        magic = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), None)
        if magic is not None:
            return cls(Path(*parts[:magic]), "/".join(parts[magic:]))
        return cls(path, "**" if path.is_dir() else "")

    def find(self) -> Found:
        """The files that match now. Hidden folders, caches and virtual environments are left out."""
        if not self.glob:
            return Found((self.base,), ())
        if not self.base.is_dir():
            return Found((), (self.base,))
        files: list[Path] = []
        folders: list[Path] = []
        for folder, names in _walk(self.base, deep="**" in self.glob or "/" in self.glob):
            folders.append(folder)
            for name in names:
                if self.matches(folder / name):
                    files.append(folder / name)
            if len(folders) >= MOST_FOLDERS or len(files) >= MOST_FILES:
                return Found(tuple(files), tuple(folders), cut=True)
        return Found(tuple(files), tuple(folders))

    def matches(self, path: Path) -> bool:
        """Whether `path` is one that this names, if it is a file in a folder that `find` would enter."""
        if not self.glob:
            return path == self.base
        if not path.is_relative_to(self.base) or _IGNORED_FILE.search(path.name):
            return False
        return _regex(self.glob).fullmatch(path.relative_to(self.base).as_posix()) is not None


def _walk(base: Path, deep: bool) -> Iterator[tuple[Path, list[str]]]:
    for folder, inner, names in os.walk(base):
        inner[:] = sorted(name for name in inner if not _is_ignored(folder, name)) if deep else []
        yield Path(folder), sorted(names)


def _is_ignored(folder: str, name: str) -> bool:
    if name in IGNORED_FOLDERS or name.startswith("."):
        return True
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


@lru_cache(maxsize=64)
def _regex(glob: str) -> re.Pattern[str]:
    """A glob with ``**`` as a regular expression; `fnmatch` lets ``*`` cross folders and knows no ``**``."""
    out = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", glob):
        if part == "**/":
            out += "(?:.*/)?"
        elif part == "**":
            out += ".*"
        elif part == "*":
            out += "[^/]*"
        elif part == "?":
            out += "[^/]"
        elif part.startswith("[") and part.endswith("]"):
            out += part.replace("[!", "[^", 1)
        else:
            out += re.escape(part)
    return re.compile(out)

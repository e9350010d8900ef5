"""WatchedFiles: which files a save of which is reported, where they lie, and what they held."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .fingerprint import Fingerprints, Look
from .links import links_on, target_of
from .shadows import shadows
from .watch_pattern import MOST_FILES, MOST_FOLDERS, WatchPattern


class WatchedFiles:
    """The imported files, those of the patterns, and at times other Python files of the project.

    Everything here asks the file system, which may be slow: to be called from one thread at a time, not from
    the event loop.

    Attributes:
        folders: those in which something may happen to a watched file, or a new one may come.
        left_out: what is not watched because there is too much of it, in words; empty if there is none.
    """

    def __init__(self, project: Path, patterns: Sequence[str] = ()) -> None:
        """`patterns`: as given by ``--watch``."""
        self._project = project
        self._patterns = [WatchPattern.parse(text, project) for text in patterns]
        self._python = WatchPattern(project, "**/*.py")
        self._imported: set[Path] = set()
        self._whole_project = False
        self._older: frozenset[Path] | None = None  # not None: Python files beside these are new ones
        self._fingerprints = Fingerprints()
        self._named: dict[str, set[Path]] = {}  # every name of a watched file -> the file
        self._above: set[str] = set()
        self._links: dict[Path, str] = {}  # on the paths of all of them -> where each leads
        self._pattern_folders: set[Path] = set()
        self._bases: list[WatchPattern] = []  # the patterns in force, under every name of their base
        self.folders: frozenset[Path] = frozenset()
        self.left_out = ""

    def __len__(self) -> int:
        return len(self._fingerprints)

    def set_imported(self, files: Iterable[Path], loaded_at: float | None) -> None:
        """Watch exactly these, and those of the patterns; see `Watcher.watch_files`."""
        self._imported = {Path(os.path.abspath(file)) for file in files}
        self.find(loaded_at)

    def set_whole_project(self, on: bool, loaded_at: float | None) -> None:
        """Watch all Python files of the project too."""
        if on != self._whole_project:
            self._whole_project = on
            self.find(loaded_at)

    def expect_new(self, since: float | None) -> None:
        """Watch Python files of the project that did not exist at `since` (seconds since the epoch) too.

        After a load that failed: it may have missed one of them. None: no longer.
        """
        if since is None:
            if self._older is not None:
                self._older = None
                self.find()
        else:
            self._older = frozenset(file for file in self._python.find().files if _made_at(file) < since)
            self._find_new()

    def find(self, newer_than: float | None = None) -> None:
        """Find out anew which files there are; `newer_than` as in `Fingerprints.set_paths`."""
        found = self._matching()
        # A new file is one that no one has seen before, whatever its time.
        before = self._fingerprints
        new = {file for file in found if self._older is not None and file not in before and self._is_new(file)}
        expected = {path for file in self._imported for path in shadows(file, self._project)}
        self._fingerprints.set_paths(self._imported | (found - new), newer_than, expected)
        self._fingerprints.add_missing(new)
        self._index()

    def look(self, touched: set[str] | None = None) -> Look:
        """What has changed.

        Args:
            touched: paths that something happened to; only what they concern is looked at. None: at everything.
        """
        if touched is None:
            self._find_new()
            found = self._fingerprints.look()
        else:
            names = touched | {os.path.realpath(name) for name in touched}
            named = {file for name in names for file in self._named.get(name, ())}
            if self._concerns_folders(names):
                self._find_new()
                found = self._fingerprints.look(named=named)
            else:
                found = self._fingerprints.look(named, named)
        if any(target_of(link) != target for link, target in self._links.items()) or any(
            file not in self._named.get(os.path.realpath(file), ()) for file in found.changed
        ):
            self._index()  # a link leads elsewhere now
        return found

    def settle(self, files: Iterable[Path]) -> set[Path]:
        """As `Fingerprints.settle`."""
        return self._fingerprints.settle(files)

    def _active(self) -> list[WatchPattern]:
        return [*self._patterns, self._python] if self._looks_for_python() else self._patterns

    def _looks_for_python(self) -> bool:
        return self._whole_project or self._older is not None

    def _concerns_folders(self, names: set[str]) -> bool:
        """Whether watched files may have come or gone with these paths."""
        if not names.isdisjoint(self._above):
            return True
        new = [Path(name) for name in names if name not in self._named]
        return any(
            pattern.matches(path) or (path.is_relative_to(pattern.base) and path.is_dir())
            for pattern in self._bases
            for path in new
        )

    def _find_new(self) -> None:
        if self._patterns or self._looks_for_python():
            before = len(self._fingerprints), self._pattern_folders
            self._fingerprints.add_missing(self._matching())
            if before != (len(self._fingerprints), self._pattern_folders):
                self._index()

    def _matching(self) -> set[Path]:
        files: set[Path] = set()
        folders: set[Path] = set()
        for pattern in self._active():
            found = pattern.find()
            folders.update(found.folders)
            files.update(file for file in found.files if pattern is not self._python or self._counts(file))
            if found.cut:
                self.left_out = f"watching only the first {MOST_FOLDERS} folders / {MOST_FILES} files of {pattern.base}"
        self._pattern_folders = folders
        return files

    def _counts(self, file: Path) -> bool:
        return self._whole_project or self._is_new(file)

    def _is_new(self, file: Path) -> bool:
        return self._older is not None and file not in self._older

    def _index(self) -> None:
        """Names and folders of each file, of what it links to, and of the links on the way."""
        self._named.clear()
        self._links.clear()
        folders = set(self._pattern_folders)
        for path in self._fingerprints.paths():
            links = tuple(links_on(path))
            self._links.update((link, target_of(link)) for link in links)
            for name in (path, Path(os.path.realpath(path)), *links):
                self._named.setdefault(str(name), set()).add(path)
                folders.add(name.parent)
        leading = {link for pattern in self._active() for link in links_on(pattern.base)}
        self._links.update((link, target_of(link)) for link in leading)
        folders.update(link.parent for link in leading)
        self.folders = frozenset(folders)
        self._bases = [
            WatchPattern(base, pattern.glob)
            for pattern in self._active()
            for base in {pattern.base, Path(os.path.realpath(pattern.base))}
        ]
        self._above = {str(above) for folder in folders for above in (folder, *folder.parents)}
        self._above.update(map(str, leading))


def _made_at(file: Path) -> float:
    """When a file came to be what it is, also by being renamed; 0 if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)

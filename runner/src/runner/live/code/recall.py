"""SnapshotFinder: imports that are answered from a snapshot, whatever has become of the files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING

from ..report import is_user_file

if TYPE_CHECKING:
    from .source import SourceFile


class SnapshotLoader(SourceFileLoader):
    """Loads one module from bytes; anything beside it, data files say, is read from disk."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_data(self, path: str) -> bytes:
        return self._content if path == self.path else super().get_data(path)


class SnapshotFinder(MetaPathFinder):
    """Stands in front of all finders and answers for the modules of a snapshot only.

    Their parents that had no file (namespace packages) are made up where their folders are gone.
    """

    def __init__(self, contents: Iterable[tuple[SourceFile, bytes]]) -> None:
        self._contents = {file.module: (file, content) for file, content in contents}
        self._folders: dict[str, list[str]] = {}
        for name, (file, _) in self._contents.items():
            folder = os.path.dirname(file.path)
            if file.search is not None:  # the package's own folder
                folder = os.path.dirname(folder)
            parent = name.rpartition(".")[0]
            while parent and parent not in self._contents:
                folders = self._folders.setdefault(parent, [])
                if folder not in folders:
                    folders.append(folder)
                folder, parent = os.path.dirname(folder), parent.rpartition(".")[0]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname in self._contents:
            file, content = self._contents[fullname]
            loader = SnapshotLoader(fullname, file.path, content)
            search = None if file.search is None else list(file.search)
            return spec_from_file_location(fullname, file.path, loader=loader, submodule_search_locations=search)
        if fullname not in self._folders:
            return None
        found = self._found_elsewhere(fullname, path, target)
        if found is not None and not (found.origin and is_user_file(found.origin)):
            return None
        # Its folder is gone, or has got an __init__.py that the snapshot did not have.
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = list(self._folders[fullname])
        return spec

    def _found_elsewhere(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

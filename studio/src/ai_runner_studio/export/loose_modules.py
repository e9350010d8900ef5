"""Loose modules: a project that is a folder of modules, no package. What the pipeline needs decides what is taken."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ExportError
from .inventory import Inventory
from .module_code import ModuleCode, parsed
from .plan import LeftOut
from .sources import Source, is_compiled, survey

RUNTIME = "runner"  # the package that a module of this name would be taken for


@dataclass(slots=True)
class Reach:
    """What some modules need, all the way.

    Attributes:
        files: path in the project -> file, of local modules and of the data that they name.
        foreign: top-level module of somebody else's -> ``file:line`` of the first import that must succeed.
        optional: those that are imported only inside a function, `try` or condition.
        beside: file of the project that is not taken, though a module has its path as a text -> ``file:line`` of that.
    """

    files: dict[str, Path] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)
    beside: dict[str, str] = field(default_factory=dict)


def reach_of(modules: tuple[str, ...], project: Path, inventory: Inventory, include: tuple[str, ...] = ()) -> Reach:
    """Follow imports from top-level modules of a folder. A package is taken whole, its data files too.

    Args:
        include: files and folders to take in addition, as paths in the project.

    Raises:
        ExportError: a file is not valid Python, is compiled code, or cannot be taken.
    """
    kept, left = survey(project)
    return _Reaching(project, kept, left, inventory.standard).reach(modules, include)


class _Reaching:
    """One walk through a folder's modules."""

    def __init__(self, project: Path, kept: list[Source], left: list[LeftOut], standard: frozenset[str]) -> None:
        self._project = project
        self._kept = [one.path for one in kept]
        self._left = left
        self._standard = standard
        self._roots = [""]  # folders of modules: the project's own, and those that its modules put on sys.path
        self._reach = Reach()
        self._waiting: list[str] = []
        self._named: dict[str, str] = {}

    def reach(self, modules: tuple[str, ...], include: tuple[str, ...]) -> Reach:
        for module in modules:
            if not self._take_module(module):
                self._refuse(module)
        for place in include:
            if not self._take(place):
                raise ExportError(
                    f"include: {place}: no file in {self._project} that may be in the image",
                    "name a file or folder of the project, relative to it",
                )
        imported: list[tuple[str, str, bool]] = []
        while self._waiting:
            path = self._waiting.pop()
            code = ModuleCode(self._project / path)
            self._take_places(code.data())
            for folder in code.module_folders():
                self._add_root(folder)
            self._named |= {text: f"{path}:{line}" for text, line in code.texts() if self._is_data(text)}
            imported += [(one.module, f"{path}:{one.line}", one.must) for one in code.imports()]
            if not self._waiting:  # roots that a later module adds count for all
                imported = [one for one in imported if not self._is_local(one[0])]
        self._sort(imported)
        self._reach.beside = {file: at for file, at in self._named.items() if file not in self._reach.files}
        return self._reach

    def _is_data(self, text: str) -> bool:
        return "." in text and not text.endswith(".py") and text in self._kept

    def _sort(self, imported: list[tuple[str, str, bool]]) -> None:
        for module, place, must in sorted(imported, key=lambda one: one[1]):
            if module in self._standard:
                continue
            if must:
                self._reach.foreign.setdefault(module, place)
            else:
                self._reach.optional.add(module)
        self._reach.optional -= self._reach.foreign.keys()

    def _is_local(self, module: str) -> bool:
        """Take a module if it is the project's own."""
        return module != RUNTIME and module not in self._standard and self._take_module(module)

    def _take_module(self, module: str) -> bool:
        for root in self._roots:
            place = f"{root}{module}"
            if f"{place}.py" in self._kept:
                self._take(f"{place}.py")
                return True
            if any(path.startswith(f"{place}/") and path.endswith(".py") for path in self._kept):
                self._refuse_links_in(place)
                self._take(place)
                return True
            self._refuse_compiled(root, module)
        return False

    def _take(self, place: str) -> bool:
        """Take a file, or all that may be taken of a folder."""
        place = place.strip("/")
        taken = [path for path in self._kept if path == place or path.startswith(f"{place}/")]
        for path in taken:
            if path in self._reach.files:
                continue
            if is_compiled(path):
                raise _compiled(path)
            self._reach.files[path] = self._project / path
            if path.endswith(".py"):
                self._waiting.append(path)
        return bool(taken)

    def _take_places(self, places: Iterable[Path]) -> None:
        for place in sorted(places):
            if (inner := self._inner(place)) and not inner.startswith("../"):
                self._take(inner)

    def _add_root(self, folder: Path) -> None:
        inner = self._inner(folder)
        if inner is not None and f"{inner}/" not in self._roots and inner not in ("", "."):
            self._roots.append(f"{inner}/")

    def _inner(self, place: Path) -> str | None:
        """Return a place's path in the project; None outside of it."""
        return place.relative_to(self._project).as_posix() if place.is_relative_to(self._project) else None

    # ---- refusals ----------------------------------------------------------------------------

    def _refuse(self, module: str) -> None:
        """Raise the reason why a module of the pipeline cannot be taken."""
        for one in self._left:
            if one.what in (module, f"{module}.py"):
                raise ExportError(
                    f"module {module} cannot be in the image: {one.what} is {one.why}",
                    "copy it into the project, or install it as a package",
                )
        raise ExportError(
            f"module {module} has no Python file in {self._project} that may be in the image",
            "correct --pipeline-import, or make the folder a package with a [build-system] in pyproject.toml",
        )

    def _refuse_links_in(self, place: str) -> None:
        for one in self._left:
            if one.what.startswith(f"{place}/") and one.what.endswith(".py") and "link" in one.why:
                raise ExportError(f"{one.what}: {one.why}; it cannot be in the image", "copy the file into the project")

    def _refuse_compiled(self, root: str, module: str) -> None:
        for path in self._kept:
            if path.startswith(f"{root}{module}.") and path.endswith((".so", ".pyd")):
                raise _compiled(path)


def _compiled(path: str) -> ExportError:
    return ExportError(
        f"{path}: compiled code, which fits this machine's Python alone and cannot be in the image as a file",
        "build a wheel of it for the image's platform (pip wheel .), and install that file into the environment",
    )


def defines(path: Path, name: str) -> bool:
    """Whether a module has a top-level name, as far as reading it can tell (a star import may bring any).

    Raises:
        ExportError: the file is no Python.
    """
    tree = parsed(path)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return name in names or "*" in names

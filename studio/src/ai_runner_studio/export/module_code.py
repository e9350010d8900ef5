"""ModuleCode: what one module of a folder needs, as far as its text says: imports, folders of modules, data files."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError

_PATH_CHANGES = ("insert", "append", "extend")


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a top-level module. `must`: the importing module cannot be imported without it."""

    module: str
    line: int
    must: bool


class ModuleCode:
    """One parsed module.

    What it makes of its own ``__file__`` is followed through names that it assigns: ``HERE = Path(__file__).parent``.
    """

    def __init__(self, path: Path) -> None:
        """Raises ExportError if the file is not valid Python."""
        self.path = path
        self._tree = parsed(path)
        self._from_file = self._names_from_file()

    def imports(self) -> Iterator[Import]:
        """Each import, those by `importlib` with a name in plain text too."""
        must = {id(node) for node in self._tree.body}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(_top(alias.name), node.lineno, id(node) in must)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield Import(_top(node.module), node.lineno, id(node) in must)
            elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
                name = _leading_text(node.args[0])
                if name and not name.startswith("."):
                    yield Import(_top(name), node.lineno, False)

    def data(self) -> set[Path]:
        """Files and folders that exist and that it names relative to its ``__file__``."""
        return set(self._named(self._tree))

    def texts(self) -> Iterator[tuple[str, int]]:
        """Each plain text in it, with its line."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, node.lineno

    def module_folders(self) -> set[Path]:
        """Folders that it puts on `sys.path`."""
        found: set[Path] = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and _changes_path(node):
                named = {place for argument in node.args for place in self._named(argument) if place.is_dir()}
                found |= named or ({self.path.parent} if _mentions(node, self._from_file) else set())
        return found

    def _names_from_file(self) -> set[str]:
        names = {"__file__"}
        assigned = [node for node in ast.walk(self._tree) if isinstance(node, ast.Assign | ast.AnnAssign)]
        while True:
            more = {
                name
                for node in assigned
                if node.value is not None and _mentions(node.value, names)
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if (name := _name(target))
            }
            if more <= names:
                return names
            names |= more

    def _named(self, node: ast.AST) -> Iterator[Path]:
        """Yield the paths of the outermost expressions that name something that exists."""
        is_path = isinstance(node, ast.BinOp | ast.Call | ast.JoinedStr) and _mentions(node, self._from_file)
        if is_path and (places := self._existing(_texts(node, self._from_file))):
            yield from places
            return
        for child in ast.iter_child_nodes(node):
            yield from self._named(child)

    def _existing(self, parts: list[str]) -> list[Path]:
        """Return what a path, or a pattern with ``*``, names in the nearest folder that has it."""
        inner = os.path.normpath("/".join(parts))
        if not parts or "\0" in inner or not inner.strip("*./"):
            return []
        for folder in (self.path.parent, *list(self.path.parent.parents)[:2]):  # Python 3.10 has no slices of parents
            try:
                place = Path(os.path.normpath(folder / inner))
                found = sorted(folder.glob(inner)) if "*" in inner else [place] if place.exists() else []
            except (OSError, ValueError, NotImplementedError):  # a text that is no file name, or no pattern
                return []
            if found:
                return found
        return []


def parsed(path: Path) -> ast.Module:
    """Return the tree of a module.

    Raises:
        ExportError: the file is not valid Python.
    """
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        said = f"{path}:{error.lineno} is no valid Python: {error.msg}"
        raise ExportError(said, "correct it, then try again") from error
    except ValueError as error:  # null bytes
        raise ExportError(f"{path} is no valid Python: {error}", "correct it, then try again") from error


def _top(module: str) -> str:
    return module.partition(".")[0]


def _called(node: ast.Call) -> str:
    return _name(node.func)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _changes_path(node: ast.Call) -> bool:
    """Whether a call adds to `sys.path`."""
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in _PATH_CHANGES:
        return ast.unparse(function.value) == "sys.path"
    return _called(node) == "addsitedir"


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(each, ast.Name | ast.Attribute) and _name(each) in names for each in ast.walk(node))


def _leading_text(node: ast.expr) -> str:
    """Return the text that an expression begins with: all of a plain one, the first part of an f-string."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _texts(node: ast.AST, folders: set[str]) -> list[str]:
    """Return the plain texts in an expression, in their order; of an f-string a pattern.

    `folders`: names of what is known to be the module's own place.
    """
    if isinstance(node, ast.JoinedStr):
        parts = [str(each.value) if isinstance(each, ast.Constant) else "*" for each in node.values]
        if parts and parts[0] == "*" and _mentions(node.values[0], folders):
            del parts[0]
        return ["".join(parts).strip("/")]
    if isinstance(node, ast.Constant):
        return [node.value.strip("/")] if isinstance(node.value, str) else []
    return [text for child in ast.iter_child_nodes(node) for text in _texts(child, folders)]

"""Loose modules: a project that is a folder of modules, no package. What the pipeline imports decides what is taken."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ExportError
from .inventory import Inventory
from .sources import survey


@dataclass(slots=True)
class Reach:
    """What some modules import, all the way.

    Attributes:
        files: path in the project -> file, of local modules.
        foreign: top-level module of somebody else's -> ``file:line`` of the first import that must succeed.
        optional: those that are imported only inside a function, `try` or condition.
    """

    files: dict[str, Path] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)


def reach_of(modules: tuple[str, ...], project: Path, inventory: Inventory) -> Reach:
    """Follow imports from top-level modules of a folder. A package is taken whole, its data files too.

    Raises:
        ExportError: a file is no Python.
    """
    kept, _ = survey(project)
    reach = Reach()
    waiting, seen = list(modules), set(modules)
    while waiting:
        module = waiting.pop()
        files = [one.path for one in kept if one.path == f"{module}.py" or one.path.startswith(f"{module}/")]
        reach.files |= {path: project / path for path in files}
        for path in files:
            if path.endswith(".py"):
                for name, line, must in _imports(project / path):
                    if name in seen or name in inventory.standard:
                        continue
                    if _is_local(name, project):
                        seen.add(name)
                        waiting.append(name)
                    elif must:
                        reach.foreign.setdefault(name, f"{path}:{line}")
                    else:
                        reach.optional.add(name)
    return reach


def _is_local(name: str, project: Path) -> bool:
    return (project / f"{name}.py").is_file() or any((project / name).glob("*.py"))


def _imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(top-level module, line, whether the module cannot be imported without it) of each import in a file."""
    tree = _tree(path)
    must = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno, id(node) in must
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], node.lineno, id(node) in must


def defines(path: Path, name: str) -> bool:
    """Whether a module has a top-level name, as far as reading it can tell (a star import may bring any).

    Raises:
        ExportError: the file is no Python.
    """
    tree = _tree(path)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return name in names or "*" in names


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        said = f"{path}:{error.lineno} is no valid Python: {error.msg}"
        raise ExportError(said, "correct it, then try again") from error

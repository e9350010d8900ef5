"""Files that do not exist, and that Python would import in the place of a module if they did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_INIT = "__init__.py"


def shadows(file: Path, project: Path) -> Iterator[Path]:
    """Return what would be imported instead of `file`: a package of its name, or a module that is found before it.

    Args:
        project: the folder that is searched first.
    """
    if file.suffix != ".py":
        return
    folder = file.parent
    if file.name != _INIT:
        yield folder / file.stem / _INIT
    if folder.is_relative_to(project):
        while folder != project:  # a folder without that file gives way to a module, or becomes another package
            if not (folder / _INIT).exists():
                yield folder / _INIT
                yield folder.with_suffix(".py")
            folder = folder.parent
    else:
        top = _top(file)
        yield project / top / _INIT
        yield project / f"{top}.py"


def _top(file: Path) -> str:
    """Return the name of the outermost package that a file outside the project belongs to, or of the module."""
    top = file.parent if file.name == _INIT else file
    while (top.parent / _INIT).exists():
        top = top.parent
    return top.stem if top == file else top.name

"""A pipeline named as a file or a module, where an import path is needed: say which one is meant."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def refuse_other_names(word: str) -> None:
    """Raise for an argument that is a file, a folder or a module; any other word is left to the parser.

    Raises:
        UsageError: with the flag that was meant.
    """
    from ..errors import UsageError
    from ..sources.samples import VIDEO_SUFFIXES

    path = Path(word).expanduser()
    if path.suffix in VIDEO_SUFFIXES or (path.is_file() and path.suffix != ".py"):
        raise UsageError(f"'{word}' is not a command", f"for a video: --input {word}")
    if path.suffix == ".py" or path.is_dir():
        raise UsageError(f"'{word}' is a path, not the import path of a pipeline", f"give {_flags(path)}")
    if _MODULE.fullmatch(word):
        name = _pipeline_in(Path(*word.split(".")).with_suffix(".py"))
        raise UsageError(f"'{word}' is a module, not a pipeline in it", f"give --pipeline-import {word}:{name}")


def _flags(path: Path) -> str:
    """``--pipeline-import package.module:Class``, and the project where that is not the working directory."""
    file = path / "__init__.py" if path.is_dir() else path
    folder, module = Path.cwd(), Path(os.path.abspath(path)).with_suffix("")
    if not module.is_relative_to(folder) or not all(map(str.isidentifier, module.relative_to(folder).parts)):
        folder = module.parent
    project = "" if folder == Path.cwd() else f"--project {folder} "
    return f"{project}--pipeline-import {'.'.join(module.relative_to(folder).parts)}:{_pipeline_in(file)}"


def _pipeline_in(file: Path) -> str:
    """The first name in a module that may be a pipeline; MyPipeline where there is none."""
    try:
        statements = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        statements = []
    classes = [item.name for item in statements if isinstance(item, ast.ClassDef) and _is_pipeline(item)]
    functions = [
        item.name
        for item in statements
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
    ]
    return next(iter(classes + functions), "MyPipeline")


def _is_pipeline(item: ast.ClassDef) -> bool:
    methods = {part.name for part in item.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
    return bool(methods & {"transform", "put_video_frame"})

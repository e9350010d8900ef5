"""The form of an import path, ``package.module:Class``; no pydantic is needed to refuse a wrong one early."""

from __future__ import annotations

import os
import re

from .errors import ImportPathError

_IMPORT_PATH = re.compile(r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$")


def split_import_path(path: str) -> tuple[str, str]:
    """``package.module:Class`` -> its two halves.

    Raises:
        ImportPathError: it does not have that form.
    """
    if not _IMPORT_PATH.match(path):
        hint = ""
        if path.endswith(".py") or os.sep in path:
            hint = " (a file's path is not an import path: my_pipeline/pipeline.py is my_pipeline.pipeline)"
        raise ImportPathError(f"'{path}' is not an import path of the form package.module:Class{hint}")
    module, _, name = path.partition(":")
    return module, name

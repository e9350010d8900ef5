"""Which source files a process has imported that are the user's own: those a save of which reloads."""

from __future__ import annotations

import importlib.util
import json
import os
import sys

from ..report import is_user_file, traceback_files


def imported_sources() -> tuple[str, ...]:
    """Absolute paths of the user's modules in this process, sorted, as they were found: links are not resolved.

    The user's: not the standard library, not site-packages, not this runtime. Editable installs lie
    outside site-packages and so are the user's.
    """
    modules = list(sys.modules.values())
    return tuple(sorted({os.path.abspath(module.__file__ or "") for module in modules if is_users_module(module)}))


def is_users_module(module: object) -> bool:
    """Whether a module was loaded from a file of the user's."""
    file = getattr(module, "__file__", None)
    # Some packages (torch.ops) name files that do not exist.
    return isinstance(file, str) and os.path.isabs(file) and is_user_file(file) and os.path.isfile(file)


def runtime_modules() -> tuple[str, ...]:
    """Names of all modules in this process that are not the user's, in the order of their import."""
    return tuple(name for name, module in list(sys.modules.items()) if _is_runtime(name, module))


def _is_runtime(name: str, module: object) -> bool:
    if name in ("__main__", "__mp_main__") or getattr(module, "__spec__", None) is None:
        return False
    file = getattr(module, "__file__", None)
    # Without a file: built in, or a namespace package, which may be the user's and is imported as a parent anyway.
    return isinstance(file, str) and not is_user_file(file)


def failed_sources(spec_json: str, error: BaseException) -> tuple[str, ...]:
    """`imported_sources`, and the files that a failed load has to do with.

    A module that failed to import is no longer in `sys.modules`: it is found through the traceback,
    the syntax error, and the import paths themselves.
    """
    files = {os.path.abspath(file) for file in traceback_files(error.__traceback__)}
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        files.add(os.path.abspath(error.filename))
    for path in _module_names(spec_json):
        try:
            spec = importlib.util.find_spec(path)
        except Exception:  # finding a module imports its parents, which may be what is broken
            continue
        if spec is not None and spec.origin and is_user_file(spec.origin):
            files.add(os.path.abspath(spec.origin))
    return tuple(sorted(files.union(imported_sources())))


def _module_names(spec_json: str) -> list[str]:
    spec = json.loads(spec_json)
    paths = (spec.get("pipeline_cls"), spec.get("params_cls"))
    return [path.partition(":")[0] for path in paths if path]

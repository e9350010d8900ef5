"""The folder that the user's modules are imported from: its name, and its place in the path.

Processes know their current folder by its place on the disk. Its name may be a link (``current -> release-2``) that
leads elsewhere by the next load. Shells keep the name in ``PWD``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

# Environment of a host. From Python 3.11 on, it and its pipeline processes start without the working directory in their
# path, where a `queue.py` of the project would replace that of the standard library.
SAFE_PATH_ENV = {"PYTHONSAFEPATH": "runner"}
_PROJECT = "AI_RUNNER_PROJECT_FOLDER"  # for processes that the host starts


def named_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the current folder: ``PWD`` if that is the same folder, else its place on the disk."""
    name = environ.get("PWD", "")
    with suppress(OSError):
        if os.path.isabs(name) and os.path.samefile(name, os.curdir):
            return os.path.normpath(name) if ".." not in name.split(os.sep) else os.getcwd()
    return os.getcwd()


def name_project() -> None:
    """Make the current folder the project of this host, and look for modules there after all other places.

    The host imports none of the project's modules, and one of them may be named like one of the standard library.
    """
    if SAFE_PATH_ENV.items() <= os.environ.items():
        for variable in SAFE_PATH_ENV:  # not for what the user's code starts
            del os.environ[variable]
    os.environ[_PROJECT] = named_folder()
    _place(len(sys.path))


def enter_project() -> None:
    """Go to where the project's name leads now. If it leads nowhere, stay; the import then fails with the cause."""
    with suppress(KeyError, OSError):
        os.chdir(os.environ[_PROJECT])
    importlib.invalidate_caches()  # Python's notes on a folder hold for another one of the same age


def put_project_first() -> None:
    """Look for modules in the project first, as a script in it does.

    In a pipeline process, which inherits the host's path, when the user's code is next. Without a host there is no
    project, and the path stays as it is.
    """
    if os.environ.get(_PROJECT) in sys.path:
        _place(0)


def _place(index: int) -> None:
    name = os.environ[_PROJECT]
    sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd(), name)]
    sys.path.insert(index, name)

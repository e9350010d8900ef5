"""Commands that run a module of ours in a folder of the user's.

``python -m`` puts the current folder first on `sys.path`: a ``runner.py`` or ``queue.py`` of a project would be
imported in place of our package or the standard library's. ``python -P`` does not, but Python 3.10 lacks it.
"""

from __future__ import annotations

import os
import sys

# `os` and `sys` are loaded before any of the user's folders counts.
SAFE_PATH = "import os, sys; sys.path.sort(key=lambda place: os.path.abspath(place) == os.getcwd())"
_RUN = f"{SAFE_PATH}; del sys.argv[0]; import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"


def module_command(python: str, module: str) -> list[str]:
    """Return the command of ``python -m module``, with the current folder last on `sys.path` instead of first."""
    return [python, "-c", _RUN, module]


def put_current_folder_first() -> None:
    """Let modules of the current folder come before installed ones, as ``python -m`` does; for the user's own imports.

    Call it once what is ours is imported.
    """
    here = os.getcwd()
    sys.path[:] = [here, *(place for place in sys.path if os.path.abspath(place) != here)]

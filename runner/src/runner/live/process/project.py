"""Where Python looks for the modules of the user's project, in the host and in pipeline processes."""

from __future__ import annotations

import os
import sys

# Environment of a host. From Python 3.11 on, it and its pipeline processes start without the working directory in their
# path, where a `queue.py` of the project would replace that of the standard library.
SAFE_PATH = {"PYTHONSAFEPATH": "runner"}


def put_project_last() -> None:
    """Look for modules in the working directory after all other places.

    In the host: it imports none of the project's, and one of them may be named like a module of the standard library.
    """
    if SAFE_PATH.items() <= os.environ.items():
        for name in SAFE_PATH:  # not for what the user's code starts
            del os.environ[name]
    _place(len(sys.path))


def put_project_first() -> None:
    """Look for modules in the working directory first, as a script in it does, if `put_project_last` was called.

    In a pipeline process, which inherits the host's path, when the user's code is next.
    """
    if os.getcwd() in sys.path:
        _place(0)


def _place(index: int) -> None:
    here = os.getcwd()
    sys.path[:] = [place for place in sys.path if place not in ("", here)]
    sys.path.insert(index, here)

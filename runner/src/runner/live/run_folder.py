"""RunFolder: a private temporary folder of one run, with the Unix socket of its runner host in it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from .running import is_running

LONGEST_SOCKET_NAME = 100  # bytes; Linux takes 107, macOS 103
_SWEPT_AFTER_S = 60.0
_SOCKET = "api.sock"


class RunFolder:
    """A folder that only this user can look into, named after the process that has made it.

    Attributes:
        path: of the folder. socket: of the host's control API.
    """

    def __init__(self, prefix: str) -> None:
        """Make it; `prefix` says whose it is, e.g. ``ai-runner-studio-``."""
        self.path = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=_base_folder(prefix)))
        self.socket = self.path / _SOCKET

    def remove(self) -> None:
        """Take it away with all that is in it. Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)


def remove_run_folders(prefix: str, pid: int) -> None:
    """Remove the folders of one process, which has ended."""
    for folder in Path(_base_folder(prefix)).glob(f"{prefix}{pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def sweep_run_folders(prefix: str) -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(_base_folder(prefix)).glob(f"{prefix}*"):
        pid = folder.name.removeprefix(prefix).split("-")[0]
        old = time.time() - folder.stat().st_mtime > _SWEPT_AFTER_S if folder.exists() else False
        if pid.isdigit() and old and not is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _base_folder(prefix: str) -> str:
    """Where run folders lie: the temporary folder, unless a socket in it would have too long a name for the system."""
    temporary = tempfile.gettempdir()
    longest = os.path.join(temporary, f"{prefix}1234567890-12345678", _SOCKET)
    return temporary if len(os.fsencode(longest)) < LONGEST_SOCKET_NAME else "/tmp"

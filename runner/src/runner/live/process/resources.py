"""Resources with a name that user code makes in a pipeline process: temporary files, shared memory, semaphores.

They outlive the process unless somebody removes them. The host does, as soon as the process has ended, in whatever way.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import logging
import os
import tempfile
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from ..run_folder import RunFolder

FOLDER_PREFIX = "ai-runner-process-"
_TEMPORARY, _TRACKER = "tmp", "tracker"
_READ_BYTES = 1 << 16
_SHARED_MEMORY = "/dev/shm"

Resource = tuple[str, str]  # type and name, as `multiprocessing.resource_tracker` has them


class ProcessResources:
    """The host's part: a folder for temporary files, and note of what the process registers with `multiprocessing`.

    The process writes to a named pipe in place of the pipe of `multiprocessing`'s tracker, which all processes of a
    host would share, and which would remove nothing before the host ends. What is noted is registered with that one
    too: it removes what is left if the host is killed.

    Attributes:
        folder: to be passed to `use_folder` in the process.
    """

    def __init__(self) -> None:
        """On the event loop. Raises OSError: the folder cannot be made."""
        self._folder = RunFolder(FOLDER_PREFIX)
        self.folder = str(self._folder.path)
        self._pending = b""
        self._registered: set[Resource] = set()
        self._loop = asyncio.get_running_loop()
        try:
            (self._folder.path / _TEMPORARY).mkdir()
            os.mkfifo(self._folder.path / _TRACKER, 0o600)
            # Opened for writing as well: else it would be at its end whenever nobody has it open.
            self._pipe = os.open(self._folder.path / _TRACKER, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except BaseException:
            self._folder.remove()
            raise
        self._loop.add_reader(self._pipe, self._read)

    def close(self) -> None:
        """The process and all that it has started have ended: note what they wrote last. On the event loop."""
        self._loop.remove_reader(self._pipe)
        while self._read():
            pass
        os.close(self._pipe)

    def remove(self) -> None:
        """After `close`: remove what is left, but what another process uses. From any thread."""
        used = _used_files() if self._registered else set()
        for kind, name in self._registered:
            if _file_of(kind, name) not in used:
                _unlink(kind, name)
            resource_tracker.unregister(name, kind)
        self._registered.clear()
        self._folder.remove()

    def _read(self) -> bool:
        """Note what is in the pipe; whether there may be more."""
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            with suppress(ValueError, KeyError):  # user code can write there too
                self._note(*_parse(line))
        return bool(data)

    def _note(self, command: str, kind: str, name: str) -> None:
        resource = kind, name
        if command == "REGISTER" and kind in ("shared_memory", "semaphore") and resource not in self._registered:
            self._registered.add(resource)
            resource_tracker.register(name, kind)
        elif command == "UNREGISTER" and resource in self._registered:
            self._registered.remove(resource)
            resource_tracker.unregister(name, kind)


def _parse(line: bytes) -> tuple[str, str, str]:
    """Command, type and name of a message to the tracker, in both forms that versions of Python have for it."""
    if line.startswith(b"{"):
        message = json.loads(line)
        return message["cmd"], message["rtype"], base64.urlsafe_b64decode(message["base64_name"]).decode()
    command, _, rest = line.decode("ascii").partition(":")
    name, _, kind = rest.rpartition(":")
    return command, kind, name


def _file_of(kind: str, name: str) -> str:
    """Where Linux has it."""
    prefix = "sem." if kind == "semaphore" else ""
    return f"{_SHARED_MEMORY}/{prefix}{name.lstrip('/')}"


def _unlink(kind: str, name: str) -> None:
    module: Any = resource_tracker
    remove = module._CLEANUP_FUNCS.get(kind)
    if remove is not None:
        with suppress(OSError):  # the process has removed it without a word
            remove(name)


def _used_files() -> set[str]:
    """Named shared memory that any process has mapped: before Python 3.13 to open one registers it as one's own."""
    import psutil

    used: set[str] = set()
    for process in psutil.process_iter():
        try:
            maps = Path(f"/proc/{process.pid}/maps").read_text("utf-8", "replace")
        except OSError:  # of another user, or ended; there is no /proc outside of Linux
            continue
        used.update(line[line.index("/") :] for line in maps.splitlines() if f" {_SHARED_MEMORY}/" in line)
    return used


def use_folder(folder: str) -> None:
    """In the pipeline process, before user code: make temporary files there, and register named memory there."""
    if not folder:
        return
    # What torch compiles is kept in the temporary folder, and must not be compiled again after each reload.
    cache = os.path.join(tempfile.gettempdir(), f"torchinductor_{_user()}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", cache)
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.join(folder, _TEMPORARY)
    tracker: Any = resource_tracker._resource_tracker
    try:
        tracker._fd, tracker._pid = os.open(os.path.join(folder, _TRACKER), os.O_WRONLY | os.O_CLOEXEC), None
    except OSError as error:
        logging.warning("shared memory is not removed before the host ends: %s", error)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return str(os.getuid())

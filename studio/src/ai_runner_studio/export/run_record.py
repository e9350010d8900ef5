"""RunRecord: what a running export has started, so that the next one can remove it if this one is killed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Started:
    """What has to be removed after a kill.

    Attributes:
        engines: command lines of the programs that build and run images, with the options of their store.
        builder: process id and start time of the builder; none while nothing is built.
        containers: ids of the builder's working containers, as seen while it ran.
        secrets: folder of the build's secrets; empty while there is none.
    """

    engines: tuple[tuple[str, ...], ...] = ()
    builder: tuple[int, float] | None = None
    containers: tuple[str, ...] = ()
    secrets: str = ""


class RunRecord:
    """The file of one process, locked as long as the process lives: the system unlocks it, however the process ends.

    Attributes:
        token: part of the names of the containers that this process starts.
    """

    def __init__(self, folder: Path) -> None:
        """Where nothing can be written or locked, there is no file: what a kill leaves then stays."""
        self.token = secrets.token_hex(4)
        self._path = folder / self.token
        self._file: IO[str] | None = None
        self._started = Started()
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("x", encoding="utf-8")
            _lock(self._file)
            self.note()

    def note(self, **changed: object) -> None:
        """Write down what has been started, or is gone; names and values are those of `Started`."""
        self._started = replace(self._started, **changed)  # type: ignore[arg-type]
        if self._file is None:
            return
        self._file.seek(0)
        self._file.write(json.dumps(asdict(self._started)))
        self._file.truncate()
        self._file.flush()

    def close(self) -> None:
        """Delete the file: this process leaves nothing."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()


def records_folder() -> Path:
    """The folder with the records of this user's exports."""
    from platformdirs import user_state_path

    return user_state_path("ai-runner-studio", appauthor=False) / "exports"


@functools.cache
def own_record() -> RunRecord:
    """The record of this process; it is deleted when Python exits."""
    record = RunRecord(records_folder())
    atexit.register(record.close)
    return record


@dataclass(frozen=True, slots=True)
class DeadRun:
    """A run whose process is gone without deleting its record."""

    token: str
    started: Started
    path: Path


def dead_runs(folder: Path) -> Iterator[DeadRun]:
    """Yield the runs that were killed; nobody else gets the one that was yielded last."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), path.open("r+", encoding="utf-8") as file:
            _lock(file)  # OSError: its process lives
            told = json.loads(file.read())
            started = Started(
                tuple(tuple(engine) for engine in told["engines"]),
                tuple(told["builder"]) if told["builder"] else None,
                tuple(told["containers"]),
                str(told["secrets"]),
            )
            yield DeadRun(path.name, started, path)


def _lock(file: IO[str]) -> None:
    """Lock without waiting.

    Raises:
        OSError: another process has the lock.
    """
    if os.name == "nt":
        raise OSError("no locks that a process loses when it ends")
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

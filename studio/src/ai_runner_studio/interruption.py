"""Signals that raise where the code is, and the places where they must not."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

# SIGHUP is not there on Windows.
ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_depth = 0  # of blocks that hold signals back
_pending: list[int] = []


class Interrupted(Exception):
    """A signal ended the run. `exit_code` is the shell's usual one: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While it is open, Ctrl-C, SIGTERM and SIGHUP raise where the code is, so that it cleans up on its way out.

    Raises:
        Interrupted: a signal came.
    """

    def stop(number: int, _frame: object) -> None:
        if _depth:
            _pending.append(number)
        else:
            raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """For a moment, what `interruptible` would raise waits until the block is left.

    For steps that cannot be undone half-way: between making a thing and having its name, nobody can clear it away.

    Raises:
        Interrupted: a signal came meanwhile.
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _pending and not _depth:
            raise Interrupted(_pending.pop())


@contextlib.contextmanager
def scratch_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """A folder that is gone at the end of the block, also when a signal ends that, at whatever moment.

    Args:
        within: where; None for the system's temporary folder.

    Raises:
        OSError: it cannot be made.
    """
    import shutil
    import tempfile

    folder: Path | None = None
    try:
        with uninterrupted():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
        yield folder
    finally:
        if folder is not None:
            with uninterrupted():
                shutil.rmtree(folder, ignore_errors=True)

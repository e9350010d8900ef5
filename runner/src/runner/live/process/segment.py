"""A piece of memory that several processes map, and that cannot be left behind.

On Linux it is a ``memfd``: it has no entry in any file system, other processes open it through
``/proc/<owner>/fd/<n>``, and the kernel frees it when the last process that holds it is gone,
however violently. It is not bounded by the size of ``/dev/shm`` (64 MB in a container by default).
Elsewhere it is a file in the temporary folder, named after its owner, unlinked by the owner and
swept at the next start if the owner was killed.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from pathlib import Path

from ..running import is_running

_PREFIX = "ai-runner-segment"
_counter = itertools.count()


class Segment:
    """Shared memory of a fixed size.

    Attributes:
        name: what another process of the same user passes to `attach`.
        size: in bytes.
        memory: the mapping. Writable for the owner and for `attach(..., writable=True)`.
    """

    def __init__(self, name: str, memory: mmap.mmap, fd: int | None, path: Path | None) -> None:
        self.name = name
        self.size = len(memory)
        self.memory = memory
        self._fd = fd
        self._path = path

    @classmethod
    def create(cls, size: int) -> Segment:
        """A new zero-filled segment of `size` bytes, owned by this process.

        Raises:
            OSError: no memory (or no room in the temporary folder) for it.
        """
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create(_PREFIX, os.MFD_CLOEXEC)
            name, path = f"/proc/{os.getpid()}/fd/{fd}", None
        else:
            path = Path(tempfile.gettempdir(), f"{_PREFIX}-{os.getpid()}-{next(_counter)}")
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            name = str(path)
        try:
            os.ftruncate(fd, size)
            memory = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        return cls(name, memory, fd, path)

    @classmethod
    def attach(cls, name: str, *, writable: bool = False) -> Segment:
        """Map a segment of another (or this) process.

        Raises:
            FileNotFoundError: its owner is gone or has closed it.
        """
        fd = os.open(name, os.O_RDWR if writable else os.O_RDONLY)
        try:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            return cls(name, mmap.mmap(fd, 0, access=access), None, None)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of it; the owner's call also takes its name away. Safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        try:
            self.memory.close()
        except BufferError:
            # A numpy view is still alive; the mapping goes with the last one.
            pass


def sweep_segments() -> int:
    """Remove segment files whose owner is no longer running; how many there were.

    Only needed (and only finds anything) where segments are files.
    """
    swept = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-*-*"):
        pid = path.name.removeprefix(f"{_PREFIX}-").split("-")[0]
        if pid.isdigit() and not is_running(int(pid)):
            path.unlink(missing_ok=True)
            swept += 1
    return swept

"""FrameMemory: a segment of shared memory with slots for pictures, as our nodes in ComfyUI know it.

First choice is the runner's `Segment`: on Linux a memfd, which the server opens through ``/proc/<pid>/fd/<n>`` and
which cannot be left behind. Where the server cannot see this process's ``/proc`` (another container, another user's
process that may read our files) it is a file in ``/dev/shm``: locked for as long as its owner lives, whose lock says
to the next start whether it was left behind.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner.live.process.segment import Segment

from ..node_package.custom_nodes import ai_runner_live_frames as nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFIX = "ai-runner-comfyui-"
_PAGE_BYTES = 4096
_PIXEL_BYTES = 12  # float32 RGB


def shared_folder() -> Path:
    """Where segments that are files lie: memory where the system has such a folder."""
    return Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir())


class FrameMemory:
    """Slots of two areas each: the picture, and the result behind its header.

    Attributes:
        name: what our nodes open. token: what they look for in it, hexadecimal.
        capacity: bytes that a picture or a result may have.
    """

    def __init__(self, segment: Segment, capacity: int) -> None:
        self.name = segment.name
        self.token = secrets.token_hex(16)
        self.capacity = capacity
        self._segment = segment
        segment.memory[: nodes.HEADER_BYTES] = nodes.MAGIC + bytes.fromhex(self.token)

    @classmethod
    def create(cls, slots: int, pixels: int) -> FrameMemory:
        """Memory for `slots` pictures of up to `pixels` pixels that vanishes with this process."""
        capacity, size = _sizes(slots, pixels)
        return cls(Segment.create(size), capacity)

    @classmethod
    def create_file(cls, slots: int, pixels: int, folder: Path) -> FrameMemory:
        """The same as a file in a folder that the server shares.

        Raises:
            OSError: the folder is not writable, or full.
        """
        capacity, size = _sizes(slots, pixels)
        path = folder / f"{PREFIX}{secrets.token_hex(8)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(fd, 0, size)  # a full /dev/shm is told here, not by a SIGBUS later
            memory = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return cls(Segment(str(path), memory, fd, path), capacity)

    def input_offset(self, slot: int) -> int:
        """Where a slot's picture begins."""
        return _PAGE_BYTES + slot * _slot_bytes(self.capacity)

    def output_offset(self, slot: int) -> int:
        """Where a slot's result header begins."""
        return self.input_offset(slot) + _rounded(self.capacity)

    def picture(self, slot: int, height: int, width: int) -> NDArray[np.float32]:
        """A view of a slot's picture, (1, height, width, 3)."""
        return self._view(self.input_offset(slot), height, width)

    def result(self, slot: int, seq: int) -> NDArray[np.float32] | None:
        """A view of a slot's result, (1, H, W, 3); None if none was written for `seq`."""
        offset = self.output_offset(slot)
        written, height, width = nodes.RESULT.unpack_from(self._segment.memory, offset)
        if written != seq or height * width * _PIXEL_BYTES > self.capacity:
            return None
        return self._view(offset + nodes.RESULT.size, height, width)

    def _view(self, offset: int, height: int, width: int) -> NDArray[np.float32]:
        flat = np.frombuffer(self._segment.memory, np.float32, height * width * 3, offset)
        return flat.reshape(1, height, width, 3)

    def close(self) -> None:
        """Let go of it; a file is removed. Safe to call twice."""
        self._segment.close()


def sweep(folder: Path) -> int:
    """Remove files whose owner was killed; how many there were."""
    swept = 0
    for path in folder.glob(f"{PREFIX}*"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or gone by now
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            swept += 1
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(fd)
    return swept


def _sizes(slots: int, pixels: int) -> tuple[int, int]:
    """Bytes that a picture may have, and that the segment has."""
    capacity = pixels * _PIXEL_BYTES
    return capacity, _PAGE_BYTES + slots * _slot_bytes(capacity)


def _slot_bytes(capacity: int) -> int:
    return _rounded(capacity) + _rounded(nodes.RESULT.size + capacity)


def _rounded(size: int) -> int:
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES

"""Room: whether there is memory for a second process beside the one that serves, measured, not guessed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from .memory import Gauge, GpuUse

RAM_MARGIN_BYTES = 128 << 20
GPU_MARGIN_BYTES = 256 << 20
MARGIN = 0.1  # of what the old process uses, on top
RETURN_LIMIT_S = 5.0  # for memory to come back after a process has ended
_RETURNED = 0.9  # of what it used
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Room:
    """One measurement: what a second process would need, and what is free."""

    memory: Literal["RAM", "GPU"]
    needed_bytes: int
    free_bytes: int

    @property
    def enough(self) -> bool:
        return self.needed_bytes <= self.free_bytes


def measure_room(gauge: Gauge, pid: int, vram_reserved_bytes: int) -> Room:
    """Room for a second process like `pid`, where it is tightest: on one of the GPUs that it uses, or in RAM."""
    rooms = [Room("RAM", _with_margin(gauge.private(pid), RAM_MARGIN_BYTES), gauge.free_ram())]
    rooms += [
        Room("GPU", _with_margin(gpu.used_bytes, GPU_MARGIN_BYTES), gpu.free_bytes)
        for gpu in gauge.gpus(pid, vram_reserved_bytes)
        if gpu.used_bytes
    ]
    return min(rooms, key=lambda room: room.free_bytes - room.needed_bytes)


def _with_margin(used_bytes: int, margin_bytes: int) -> int:
    return used_bytes + int(used_bytes * MARGIN) + margin_bytes


async def wait_returned(gauge: Gauge, before: list[GpuUse]) -> bool:
    """Wait until the GPU memory of a process that has ended is free again; whether it was seen to be.

    RAM is back when the process is gone; a driver takes a moment longer.

    Args:
        before: the GPUs as they were while it ran.
    """
    deadline = time.monotonic() + RETURN_LIMIT_S
    while not _returned(before, gauge.gpus(0, 0)):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _returned(before: list[GpuUse], now: list[GpuUse]) -> bool:
    return all(
        later.free_bytes >= earlier.free_bytes + int(earlier.used_bytes * _RETURNED)
        for earlier, later in zip(before, now, strict=False)
    )

"""SharedMemory: pictures go to our nodes in ComfyUI through memory of this machine, bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from runner.live.process.tensor import BufferPool

from ..client import ComfyClient
from ..errors import TransportError
from ..execution import Execution
from ..rewrite import LiveNode
from .memory import FrameMemory
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = ("LiveFrameIn", "LiveFrameOut")


class SharedMemory(Transport):
    """See the module's text. `pixels`: what a picture or a result may have."""

    name = "shared_memory"

    def __init__(self, slots: int, pixels: int, make: Callable[[int, int], FrameMemory] = FrameMemory.create) -> None:
        super().__init__(slots)
        self._memory = make(slots + 1, pixels)
        self._pool = BufferPool()
        self._sizes: dict[int, tuple[int, int]] = {}

    async def put(self, _client: ComfyClient, slot: int, picture: torch.Tensor) -> None:
        height, width = picture.shape[-3:-1]
        if picture.numel() * 4 > self._memory.capacity:
            raise TransportError(
                f"a picture of {width}x{height} came, larger than the parameters width and height say: set them"
            )
        torch.from_numpy(self._memory.picture(slot, height, width)).copy_(picture)
        self._sizes[slot] = (height, width)

    def entry(self, slot: int, seq: int) -> LiveNode:
        height, width = self._sizes[slot]
        offset = self._memory.input_offset(slot)
        return LiveNode("LiveFrameIn", self._named(offset=offset, width=width, height=height, seq=seq))

    def exit(self, slot: int, seq: int) -> LiveNode:
        offset, capacity = self._memory.output_offset(slot), self._memory.capacity
        return LiveNode("LiveFrameOut", self._named(offset=offset, capacity=capacity, seq=seq))

    def _named(self, **numbers: int) -> dict[str, str | int]:
        return {"segment": self._memory.name, "token": self._memory.token, **numbers}

    async def take(self, slot: int, seq: int, _execution: Execution) -> torch.Tensor:
        result = self._memory.result(slot, seq)
        if result is None:
            raise TransportError("the workflow ended well without giving a picture: is its last node bypassed?")
        copy = self._pool.take(result.shape)
        np.copyto(copy, result)
        return torch.from_numpy(copy)

    def close(self) -> None:
        self._memory.close()

"""Transport: the ways for pictures to a server, as the pipeline sees them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..client import ComfyClient
from ..execution import Execution
from ..rewrite import LiveNode

if TYPE_CHECKING:
    import torch


class Transport(ABC):
    """Slots for pictures under way. A slot is one prompt's, from `take_slot` to `give_back`.

    One slot more than there are prompts in flight is kept for the first picture of a new workflow, so that it can
    be tried while the old one runs.

    Attributes:
        name: as the parameter `transport` has it.
        trial_slot: the slot that `take_slot` never gives.
    """

    name: str

    def __init__(self, slots: int) -> None:
        self.trial_slot = slots
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(slots):
            self._free.put_nowait(slot)
        self._out = 0
        self._retired = False

    async def take_slot(self) -> int:
        """A free slot; waits for one."""
        slot = await self._free.get()
        self._out += 1
        return slot

    def give_back(self, slot: int) -> None:
        """The slot's picture has been taken, or given up."""
        self._free.put_nowait(slot)
        self._out -= 1
        if self._retired and not self._out:
            self.close()

    def retire(self) -> None:
        """No slot will be taken any more: close as soon as all are back."""
        self._retired = True
        if not self._out:
            self.close()

    @abstractmethod
    async def put(self, client: ComfyClient, slot: int, picture: torch.Tensor) -> None:
        """Give a picture to the server: float, (1, H, W, 3), values in [0, 1], any device.

        Raises:
            TransportError: it does not fit.
            ServerError: the server does not take it.
        """

    @abstractmethod
    def entry(self, slot: int, seq: int) -> LiveNode:
        """The node that reads the slot's picture; `seq` tells it from every other picture."""

    @abstractmethod
    def exit(self, slot: int, seq: int) -> LiveNode:
        """The node that takes the result."""

    @abstractmethod
    async def take(self, slot: int, seq: int, execution: Execution) -> torch.Tensor:
        """The result of a prompt that has ended well: float32, (1, H, W, 3), on the CPU.

        Raises:
            TransportError: the workflow gave no picture, or more than one.
        """

    def close(self) -> None:
        """Let go of memory. Safe to call twice."""

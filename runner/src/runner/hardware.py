"""Hardware: what NVML tells about the machine's GPUs; nothing where there is no driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel

ANSWER_LIMIT_S = 3.0  # the network waits 5 s

logger = logging.getLogger(__name__)


class GPUComputeInfo(BaseModel):
    """Model for detailed GPU compute information."""  # told to clients: the network's own words

    id: str
    name: str
    memory_total: int
    memory_free: int
    major: int
    minor: int


class GPUUtilizationInfo(BaseModel):
    """Model for GPU utilization statistics."""

    id: str
    name: str
    memory_total: int
    memory_free: int
    utilization_compute: int
    utilization_memory: int


class Hardware:
    """The GPUs, by their index in NVML. Memory is in bytes, utilization in percent of the latest moment."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] | None = None
        self._asking: dict[str, asyncio.Future[Any]] = {}
        self._last: dict[str, Any] = {}

    async def compute_info(self) -> dict[str, GPUComputeInfo]:
        """GPU index -> name, memory and compute capability."""
        found: dict[str, GPUComputeInfo] = await self._ask("compute", self._compute_info)
        return found

    async def utilization(self) -> dict[str, GPUUtilizationInfo]:
        """GPU index -> memory and how busy it is."""
        found: dict[str, GPUUtilizationInfo] = await self._ask("utilization", self._utilization)
        return found

    async def _ask(self, what: str, read: Callable[[Any], Any]) -> Any:
        """Ask NVML in a thread, one at a time: a driver that hangs must take neither the loop nor all threads."""
        asking = self._asking.get(what)
        if asking is None:
            asking = self._asking[what] = asyncio.ensure_future(asyncio.to_thread(self._read, read))
            asking.add_done_callback(partial(self._told, what))
        done, _ = await asyncio.wait([asking], timeout=ANSWER_LIMIT_S)
        if not done:
            logger.warning("NVML has not answered within %.0f s", ANSWER_LIMIT_S)
        return self._last.get(what, {})

    def _told(self, what: str, asking: asyncio.Future[Any]) -> None:
        del self._asking[what]
        if not asking.cancelled() and asking.exception() is None:
            self._last[what] = asking.result()

    def _read(self, read: Callable[[Any], Any]) -> dict[str, Any]:
        import pynvml

        if self._handles is None:
            self._handles = _handles(pynvml)
        found = {}
        for index, handle in self._handles.items():
            try:
                found[index] = read(handle)
            except pynvml.NVMLError as error:
                logger.debug("GPU %s tells nothing: %s", index, error)
        return found

    @staticmethod
    def _compute_info(handle: Any) -> GPUComputeInfo:
        import pynvml

        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return GPUComputeInfo(**_identity(pynvml, handle), major=major, minor=minor)

    @staticmethod
    def _utilization(handle: Any) -> GPUUtilizationInfo:
        import pynvml

        try:
            rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
            compute, memory = int(rates.gpu), int(rates.memory)
        except pynvml.NVMLError:  # a GPU that is split into instances does not tell
            compute = memory = 0
        return GPUUtilizationInfo(**_identity(pynvml, handle), utilization_compute=compute, utilization_memory=memory)


def _handles(pynvml: Any) -> dict[str, Any]:
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:  # no driver, no GPU
        return {}
    return {str(index): pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)}


def _identity(pynvml: Any, handle: Any) -> dict[str, Any]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return {
        "id": uuid.decode() if isinstance(uuid, bytes) else uuid,
        "name": name.decode() if isinstance(name, bytes) else name,
        "memory_total": int(memory.total),
        "memory_free": int(memory.free),
    }

"""Hardware: what is told of GPUs. NVML itself is not on every machine, so a stand-in of its module speaks here."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runner import hardware
from runner.hardware import Hardware


class NVMLError(Exception):
    pass


class Nvml(ModuleType):
    """Two GPUs; the second is split into instances and does not tell how busy it is."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.inits = 0
        self.driver = True
        self.lost: set[int] = set()
        self.answering = threading.Event()
        self.answering.set()

    def nvmlInit(self) -> None:
        self.inits += 1
        if not self.driver:
            raise NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self.answering.wait(60)
        if handle in self.lost:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(total=80 << 30, free=70 << 30)

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return "NVIDIA H100" if handle else b"NVIDIA H100"  # older versions of the module give bytes

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetCudaComputeCapability(self, _handle: int) -> tuple[int, int]:
        return (9, 0)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle:
            raise NVMLError("not supported")
        return SimpleNamespace(gpu=33, memory=4)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    module = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    yield module
    module.answering.set()


async def test_every_gpu_by_its_index(nvml: Nvml) -> None:
    found = Hardware()
    info = await found.compute_info()
    assert info["0"].model_dump() == {
        "id": "GPU-0", "name": "NVIDIA H100", "memory_total": 80 << 30, "memory_free": 70 << 30, "major": 9, "minor": 0,
    }  # fmt: skip
    assert list(info) == ["0", "1"]
    used = await found.utilization()
    assert (used["0"].utilization_compute, used["0"].utilization_memory) == (33, 4)
    assert (used["1"].utilization_compute, used["1"].memory_free) == (0, 70 << 30)
    assert nvml.inits == 1


async def test_without_a_driver_there_is_nothing(nvml: Nvml) -> None:
    nvml.driver = False
    assert await Hardware().compute_info() == {}


async def test_a_gpu_that_is_lost_is_left_out(nvml: Nvml) -> None:
    found = Hardware()
    nvml.lost.add(0)
    assert list(await found.compute_info()) == ["1"]


async def test_a_driver_that_hangs_is_asked_once_and_the_last_answer_stays(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Hardware()
    first = await found.compute_info()
    monkeypatch.setattr(hardware, "ANSWER_LIMIT_S", 0.05)
    nvml.answering.clear()
    before = threading.active_count()
    assert await asyncio.gather(*(found.compute_info() for _ in range(8))) == [first] * 8
    assert threading.active_count() <= before + 1
    nvml.answering.set()


async def test_the_machine_that_this_runs_on() -> None:
    for gpu in (await Hardware().compute_info()).values():
        assert 0 <= gpu.memory_free <= gpu.memory_total

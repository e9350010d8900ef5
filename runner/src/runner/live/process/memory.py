"""How much memory, CPU and GPU memory a pipeline process uses, and how much there is beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .process import PipelineProcess


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One measurement. Bytes; `cpu_percent` since the one before, 100 is one core; None where there is no GPU."""

    memory_bytes: int = 0
    cpu_percent: float = 0.0
    vram_bytes: int | None = None
    vram_total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process holds. Bytes; None where there is no GPU."""

    memory_bytes: int = 0
    vram_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU: what a process uses of it, what is free, and what there is in all. Bytes."""

    used_bytes: int
    free_bytes: int
    total_bytes: int


class Gauge(Protocol):
    """Where figures about memory come from."""

    def free_ram(self) -> int:
        """Bytes of RAM that can still be had, within the limit of a container."""
        ...

    def resident(self, pid: int, /) -> int:
        """Bytes of RAM that a process uses; 0 if it has ended."""
        ...

    def proportional(self, pid: int, /) -> int:
        """The same, with what it shares counted in part. Takes milliseconds."""
        ...

    def private(self, pid: int, /) -> int:
        """Bytes of RAM that another process of its kind would need anew; 0 if it has ended."""
        ...

    def gpus(self, pid: int, reserved_bytes: int, /) -> list[GpuUse]:
        """The GPUs, as far as `pid` uses them; empty where there is none.

        Args:
            reserved_bytes: what torch says it has reserved; taken where the driver does not tell (containers
                with their own process ids).
        """
        ...


def measure_use(gauge: Gauge, pid: int, vram_reserved_bytes: int) -> ProcessUse:
    """What a process holds now."""
    gpus = gauge.gpus(pid, vram_reserved_bytes)
    return ProcessUse(gauge.resident(pid), sum(gpu.used_bytes for gpu in gpus) if gpus else None)


class ProcessMemory:
    """Measures one process after the other."""

    def __init__(self) -> None:
        self._process: Any = None
        self._gauge = SystemGauge()

    def prepare(self) -> None:
        """Load the libraries and open the driver, which blocks for a moment; `measure` does it otherwise."""
        import psutil  # noqa: F401

        self._gauge.open()

    def measure(self, process: PipelineProcess | None) -> MemoryUse:
        """What `process` uses now; zeros for None or one that has just ended."""
        import psutil

        if process is None or not process.pid:
            return MemoryUse()
        try:
            if self._process is None or self._process.pid != process.pid:
                self._process = psutil.Process(process.pid)
            memory = self._process.memory_info().rss
            cpu = self._process.cpu_percent()
        except psutil.Error:
            return MemoryUse()
        gpus = self._gauge.gpus(process.pid, process.vram_reserved)
        if not gpus:
            return MemoryUse(memory, cpu)
        return MemoryUse(memory, cpu, sum(gpu.used_bytes for gpu in gpus), sum(gpu.total_bytes for gpu in gpus))


class SystemGauge:
    """A `Gauge` that asks the system: psutil, the container's limit (cgroup), and NVML."""

    def __init__(self) -> None:
        self._handles: list[Any] | None = None

    def free_ram(self) -> int:
        import psutil

        free = int(psutil.virtual_memory().available)
        limit = _container_free()
        return free if limit is None else min(free, limit)

    def resident(self, pid: int) -> int:
        import psutil

        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return 0

    def proportional(self, pid: int) -> int:
        import psutil

        try:
            memory = psutil.Process(pid).memory_full_info()
        except psutil.Error:
            return 0
        return int(getattr(memory, "pss", memory.rss))

    def private(self, pid: int) -> int:
        import psutil

        try:
            memory = psutil.Process(pid).memory_info()
        except psutil.Error:
            return 0
        # Libraries and the rings of frames are mapped once, whoever uses them.
        return int(memory.rss - getattr(memory, "shared", 0))

    def gpus(self, pid: int, reserved_bytes: int) -> list[GpuUse]:
        handles = self.open()
        if not handles:
            return []
        import pynvml

        found = []
        try:
            for handle in handles:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
                used = sum(int(process.usedGpuMemory or 0) for process in processes if process.pid == pid)
                found.append(GpuUse(used, int(memory.free), int(memory.total)))
        except pynvml.NVMLError:  # the driver has gone away, or does not tell (MIG)
            return []
        if not any(gpu.used_bytes for gpu in found):
            found[0] = GpuUse(reserved_bytes, found[0].free_bytes, found[0].total_bytes)
        return found

    def open(self) -> list[Any]:
        """The GPUs there are, opened once."""
        if self._handles is None:
            import pynvml

            try:
                pynvml.nvmlInit()
                count = pynvml.nvmlDeviceGetCount()
                self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            except pynvml.NVMLError:
                self._handles = []
        return self._handles


# Limit, use, and the line of memory.stat that can be had back: cgroup v2, then v1 (Documentation/admin-guide).
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _container_free() -> int | None:
    """Bytes left within the memory limit of the container that this runs in; None if there is no limit."""
    for folder, limit, usage, inactive in _CGROUPS:
        try:
            bound = int((folder / limit).read_text())  # "max" where there is none
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return max(0, bound - used + int(stat.get(inactive, 0)))
    return None

"""How much memory, CPU and GPU memory a pipeline process uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .process import PipelineProcess


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One measurement. Bytes; `cpu_percent` since the one before, 100 is one core; None where there is no GPU."""

    memory_bytes: int = 0
    cpu_percent: float = 0.0
    vram_bytes: int | None = None
    vram_total_bytes: int | None = None


class ProcessMemory:
    """Measures one process after the other."""

    def __init__(self) -> None:
        self._process: Any = None
        self._gpu = GpuMemory()

    def prepare(self) -> None:
        """Load the libraries and open the driver, which blocks for a moment; `measure` does it otherwise."""
        import psutil  # noqa: F401

        self._gpu.open()

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
        reserved = process.heartbeat.vram_bytes if process.heartbeat else 0
        vram, total = self._gpu.used_by(process.pid, reserved)
        return MemoryUse(memory, cpu, vram, total)


class GpuMemory:
    """GPU memory by NVML; knows nothing where there is no NVIDIA driver."""

    def __init__(self) -> None:
        self._handles: list[Any] | None = None

    def used_by(self, pid: int, reserved_bytes: int) -> tuple[int | None, int | None]:
        """(bytes that a process uses on all GPUs, their total), or (None, None) without a GPU.

        Args:
            reserved_bytes: what torch says it has reserved; taken where NVML does not tell (containers
                with their own process ids).
        """
        handles = self.open()
        if not handles:
            return None, None
        import pynvml

        used = total = 0
        for handle in handles:
            total += int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == pid and process.usedGpuMemory:
                    used += int(process.usedGpuMemory)
        return used or reserved_bytes, total

    def open(self) -> list[Any]:
        """The devices there are, opened once."""
        if self._handles is None:
            import pynvml

            try:
                pynvml.nvmlInit()
                count = pynvml.nvmlDeviceGetCount()
                self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            except pynvml.NVMLError:
                self._handles = []
        return self._handles

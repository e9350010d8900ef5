"""The GPU that is told to an orchestrator."""

from __future__ import annotations

import os
from typing import Any


def first_gpu() -> dict[str, Any] | None:
    """``{"id", "name", "vram_mb"}`` of the first GPU that this process may use, None without one. Blocks."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return None
    try:
        handle = _first_handle(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if handle is None:
            return None
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "id": str(pynvml.nvmlDeviceGetIndex(handle)),
            "name": _text(pynvml.nvmlDeviceGetName(handle)),
            "vram_mb": int(memory.total) >> 20,
        }
    except pynvml.NVMLError:  # it does not tell, as parts of a GPU (MIG) may not
        return None
    finally:
        pynvml.nvmlShutdown()


def _first_handle(pynvml: Any, visible: str | None) -> Any:
    """`visible`: what CUDA is told to use: indices or UUIDs."""
    if visible is None:
        return pynvml.nvmlDeviceGetHandleByIndex(0) if pynvml.nvmlDeviceGetCount() else None
    first = visible.split(",")[0].strip()
    if first.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    return pynvml.nvmlDeviceGetHandleByUUID(first) if first.startswith(("GPU-", "MIG-")) else None


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name

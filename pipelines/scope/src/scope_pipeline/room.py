"""Whether memory has room for a second pipeline while the first still serves. Measured, not guessed."""

from __future__ import annotations

import gc
from pathlib import Path

from .models import artifact_paths
from .registry import ScopePipeline

_SPARE = 1.1  # of what a pipeline needs: allocators round up, and frames need room too


def fits_beside(pipeline: ScopePipeline, models: Path) -> bool:
    """Whether a pipeline can be loaded without ending the one that runs.

    On a GPU by the need that its config class states; without one by the size of its files, which then lie in RAM.
    """
    import psutil
    import torch

    need_gb = getattr(pipeline.config_class, "estimated_vram_gb", None)
    if torch.cuda.is_available():
        return bool(float(need_gb or 0) * 2**30 * _SPARE <= _free_on_gpu())
    return _size_bytes(pipeline, models) * _SPARE <= int(psutil.virtual_memory().available)


def give_back() -> None:
    """Return the memory of a pipeline that has been closed."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _free_on_gpu() -> int:
    """Bytes that torch can still have: the driver's, and what its cache holds unused."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def _size_bytes(pipeline: ScopePipeline, models: Path) -> int:
    paths = {path for artifact in pipeline.artifacts for path in artifact_paths(artifact, models)}
    files = {file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])}
    return sum(file.stat().st_size for file in files if file.is_file())

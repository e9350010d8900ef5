"""Tests for pipelines, for authors to run over their own.

    from runner.testing import PipelineContract

    class TestMine(PipelineContract):
        spec = PipelineSpec(pipeline_cls="mine.pipeline:Mine", params_cls="mine.params:MineParams")

`PipelineContract` checks a pipeline; it is a base class for pytest, which nothing else here imports. `NumberedFrames`
is an input whose pictures can be told apart.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .numbered_frames import NumberedFrames
    from .pipeline_contract import PipelineContract

__all__ = ["NumberedFrames", "PipelineContract"]

_HOME = {
    "NumberedFrames": "numbered_frames",
    "PipelineContract": "pipeline_contract",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a stream of the network needs no pytest."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.{_HOME[name]}"
    if name.endswith("Contract"):
        import pytest

        pytest.register_assert_rewrite(module)  # failures show both sides, as in a test's own module
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value  # also over the module of the same name, which the import has just put there
    return value

"""Tests for pipelines, for authors to run over their own.

    from runner.testing import PipelineContract

    class TestMine(PipelineContract):
        spec = PipelineSpec(pipeline_cls="mine.pipeline:Mine", params_cls="mine.params:MineParams")

`PipelineContract` checks a pipeline, `EntrypointContract` a console script that serves one; both are base
classes for pytest, which only they import. `network_stream` plays the network for any runner that listens, and
`NumberedFrames` is an input whose pictures can be told apart.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .entrypoint_contract import EntrypointContract
    from .network_stream import NetworkStream, network_stream
    from .numbered_frames import NumberedFrames
    from .pipeline_contract import PipelineContract

__all__ = ["EntrypointContract", "NetworkStream", "NumberedFrames", "PipelineContract", "network_stream"]

_HOME = {
    "EntrypointContract": "entrypoint_contract",
    "NetworkStream": "network_stream",
    "NumberedFrames": "numbered_frames",
    "PipelineContract": "pipeline_contract",
    "network_stream": "network_stream",
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

"""Filled when it is imported: shipped pipelines, then plugins."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch

from scope.core.nodes.registry import NodeRegistry

logger = logging.getLogger(__name__)


class PipelineRegistry:
    @classmethod
    def register(cls, pipeline_id: str, pipeline_class: Any) -> None:
        NodeRegistry.register(pipeline_class)

    @classmethod
    def get(cls, pipeline_id: str) -> Any:
        node = NodeRegistry.get(pipeline_id)
        return node if node is not None and node.get_config_class() is not None else None

    @classmethod
    def get_config_class(cls, pipeline_id: str) -> Any:
        pipeline = cls.get(pipeline_id)
        return pipeline.get_config_class() if pipeline else None

    @classmethod
    def list_pipelines(cls) -> list[str]:
        return [pipeline_id for pipeline_id in NodeRegistry.list_node_types() if cls.get(pipeline_id) is not None]


def _initialize_registry() -> None:
    for name in ("passthrough", "gray", "waves", "longlive", "torn", "half", "echo_files", "bare"):
        try:
            module = importlib.import_module(f".{name}.pipeline", package=__package__)
            pipeline = module.PIPELINE
            if pipeline.get_config_class().estimated_vram_gb is not None and not torch.cuda.is_available():
                continue
            PipelineRegistry.register(pipeline.get_config_class().pipeline_id, pipeline)
        except ImportError as error:
            logger.warning("Could not import %s pipeline: %s", name, error)
    from scope.core.plugins import ensure_plugins_installed, load_plugins, register_plugin_nodes

    ensure_plugins_installed()
    load_plugins()
    register_plugin_nodes()


_initialize_registry()

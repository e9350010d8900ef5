from __future__ import annotations

from typing import Any


class NodeRegistry:
    _nodes: dict[str, Any] = {}

    @classmethod
    def register(cls, node_class: Any) -> None:
        config = node_class.get_config_class()
        cls._nodes[node_class.node_type_id or config.pipeline_id] = node_class

    @classmethod
    def get(cls, node_type_id: str) -> Any:
        return cls._nodes.get(node_type_id)

    @classmethod
    def list_node_types(cls) -> list[str]:
        return list(cls._nodes)

from scope.core.nodes.base import Node, Requirements

Pipeline = Node

__all__ = ["Pipeline", "Requirements"]

from .base import Node, Requirements

__all__ = ["Node", "Requirements"]

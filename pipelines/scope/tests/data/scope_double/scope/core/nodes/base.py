"""Everything on Scope's graph is a node; one with a config class is a pipeline."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel


class Requirements(BaseModel):
    input_size: int


class Node:
    node_type_id: ClassVar[str] = ""

    def __init__(self, node_id: str = "", config: dict[str, Any] | None = None) -> None:
        self.node_id = node_id
        self.config = config or {}

    @classmethod
    def get_config_class(cls) -> Any:
        return None

    @classmethod
    def get_artifacts(cls) -> list[Any]:
        config = cls.get_config_class()
        return list(config.artifacts) if config is not None else []

    def shutdown(self) -> None: ...

    def prepare(self, **kwargs: Any) -> Requirements | None:
        return None

    def __call__(self, **kwargs: Any) -> Any:
        raise NotImplementedError

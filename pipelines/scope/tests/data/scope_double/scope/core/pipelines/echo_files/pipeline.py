"""Wants a file: its colour. Finds its models folder as Scope's pipelines do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..gray.pipeline import open_pipelines
from ..interface import Pipeline, Requirements
from .schema import EchoFilesConfig


class EchoFilesPipeline(Pipeline):
    def __init__(self) -> None:
        folder = Path(os.environ["DAYDREAM_SCOPE_MODELS_DIR"]) / "echo"
        self.level = int((folder / "weights.bin").read_text())
        self.beside = list(open_pipelines)

    @classmethod
    def get_config_class(cls) -> Any:
        return EchoFilesConfig

    def prepare(self, **kwargs: Any) -> Requirements:
        return Requirements(input_size=1)

    def __call__(self, **kwargs: Any) -> dict[str, Any]:
        return {"video": torch.full_like(torch.cat(kwargs["video"]), self.level)}


PIPELINE = EchoFilesPipeline

"""One frame at a time. The constructor takes neither size nor dtype; one method fails, and one is slow."""

from __future__ import annotations

from typing import Any

import torch

from ..interface import Pipeline, Requirements
from .schema import GrayConfig

open_pipelines: list[str] = []


class GrayPipeline(Pipeline):
    def __init__(self, method: str = "luma", device: torch.device | None = None) -> None:
        self.method = method
        self.weights = torch.tensor({"luma": [0.299, 0.587, 0.114], "mean": [1 / 3] * 3}[method])
        open_pipelines.append(method)

    @classmethod
    def get_config_class(cls) -> Any:
        return GrayConfig

    def shutdown(self) -> None:
        open_pipelines.remove(self.method)

    def prepare(self, **kwargs: Any) -> Requirements:
        return Requirements(input_size=1)

    def __call__(self, *, video: Any, strength: float) -> dict[str, Any]:
        frames = torch.cat(video).float() / 255
        gray = (frames @ self.weights).unsqueeze(-1).expand(-1, -1, -1, 3)
        return {"video": frames + (gray - frames) * strength}


PIPELINE = GrayPipeline

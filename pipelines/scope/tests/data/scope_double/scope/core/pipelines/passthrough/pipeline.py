"""Chunks of four, a dict, 0..255 in and [0, 1] out."""

from __future__ import annotations

from typing import Any

import torch

from ..interface import Pipeline, Requirements
from .schema import PassthroughConfig


class PassthroughPipeline(Pipeline):
    def __init__(self, height: int = 512, width: int = 512, device: Any = None, dtype: Any = torch.bfloat16) -> None:
        self.size = (height, width)

    @classmethod
    def get_config_class(cls) -> Any:
        return PassthroughConfig

    def prepare(self, **kwargs: Any) -> Requirements:
        return Requirements(input_size=4)

    def __call__(self, **kwargs: Any) -> dict[str, Any]:
        video = kwargs["video"]
        assert len(video) == 4
        assert all(frame.dtype == torch.uint8 and frame.shape == (1, *self.size, 3) for frame in video)
        return {"video": torch.cat(video).float() / 255}


PIPELINE = PassthroughPipeline

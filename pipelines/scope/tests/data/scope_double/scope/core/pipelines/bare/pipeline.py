"""As pipelines were before ports: frames are called `input`, and the tensor comes back as it is. Four in, 45 out."""

from __future__ import annotations

from typing import Any

import torch

from ..interface import Pipeline, Requirements
from .schema import BareConfig


class BarePipeline(Pipeline):
    @classmethod
    def get_config_class(cls) -> Any:
        return BareConfig

    def prepare(self, **kwargs: Any) -> Requirements:
        return Requirements(input_size=4)

    def __call__(self, input: Any = None, **kwargs: Any) -> torch.Tensor:
        if int(input[0].min()) == int(input[0].max()) == 13:
            raise RuntimeError("thirteen")
        return input[0].float().div(255).expand(45, -1, -1, -1)


PIPELINE = BarePipeline

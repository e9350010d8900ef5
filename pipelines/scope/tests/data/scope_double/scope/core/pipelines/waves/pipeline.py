"""Two modes: from text without any input, from video twelve at once. Nine pictures after a reset, then twelve."""

from __future__ import annotations

from typing import Any

import torch

from ..interface import Pipeline, Requirements
from .schema import WavesConfig

instances: list[WavesPipeline] = []


class WavesPipeline(Pipeline):
    def __init__(
        self,
        config: Any,
        quantization: Any = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.bfloat16,
        stage_callback: Any = None,
    ) -> None:
        self.generator_path = config.generator_path
        self.vae_type = config.vae_type
        self.size = (config.height, config.width)
        self.calls: list[dict[str, Any]] = []
        if stage_callback:
            stage_callback("Loading diffusion model...")
        if config.base_seed == 666:
            raise RuntimeError("weights do not fit")
        instances.append(self)

    @classmethod
    def get_config_class(cls) -> Any:
        return WavesConfig

    def prepare(self, **kwargs: Any) -> Requirements | None:
        return Requirements(input_size=12) if kwargs.get("video") is not None else None

    def __call__(self, **kwargs: Any) -> dict[str, Any]:
        self.calls.append(kwargs)
        count = 9 if kwargs["init_cache"] else 12
        height, width = self.size
        return {"video": torch.arange(count).mul(17 / 255).view(-1, 1, 1, 1).expand(-1, height, width, 3)}


PIPELINE = WavesPipeline

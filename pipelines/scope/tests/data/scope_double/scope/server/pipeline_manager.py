"""Scope's own loader, which knows where the weights of its own pipelines lie."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import OmegaConf

BUILT_IN = ("waves",)


class PipelineManager:
    def _load_pipeline_implementation(
        self, pipeline_id: str, load_params: dict[str, Any] | None = None, stage_callback: Any = None
    ) -> Any:
        from scope.core.pipelines.registry import PipelineRegistry

        assert pipeline_id in BUILT_IN
        params = load_params or {}
        config = OmegaConf.create({"generator_path": f"{os.environ['DAYDREAM_SCOPE_MODELS_DIR']}/waves/generator.pt"})
        for name, default in (("height", 320), ("width", 576), ("base_seed", 42), ("vae_type", "wan")):
            config[name] = params.get(name, default)
        return PipelineRegistry.get(pipeline_id)(config, stage_callback=stage_callback)

from __future__ import annotations

from ..base_schema import BasePipelineConfig, ModeDefaults


class PassthroughConfig(BasePipelineConfig):
    pipeline_id = "passthrough"
    pipeline_name = "Passthrough"
    supports_prompts = False
    modes = {"video": ModeDefaults(default=True)}

from __future__ import annotations

from ..base_schema import BasePipelineConfig, ModeDefaults


class BareConfig(BasePipelineConfig):
    pipeline_id = "bare"
    modes = {"video": ModeDefaults(default=True)}

from __future__ import annotations

from pydantic import Field

from ..base_schema import BasePipelineConfig, ModeDefaults, ui_field_config


class GrayConfig(BasePipelineConfig):
    pipeline_id = "gray"
    pipeline_name = "Grayscale"
    pipeline_description = "Takes the colour out."
    supports_prompts = False
    modes = {"video": ModeDefaults(default=True)}

    strength: float = Field(
        default=1.0, ge=0.0, le=1.0, description="How much", json_schema_extra=ui_field_config(order=2, label="Strength")
    )
    method: str = Field(default="luma", pattern="luma|mean", json_schema_extra=ui_field_config(order=1, is_load_param=True))

from __future__ import annotations

from enum import Enum

from pydantic import Field, model_validator

from ..base_schema import BasePipelineConfig, ModeDefaults, ui_field_config


class Vae(str, Enum):
    WAN = "wan"
    TINY = "tiny"


class WavesConfig(BasePipelineConfig):
    pipeline_id = "waves"
    pipeline_name = "Waves"
    pipeline_description = "Text or video to video."
    modes = {
        "text": ModeDefaults(default=True),
        "video": ModeDefaults(height=512, width=512, noise_scale=0.7, denoising_steps=[1000, 750]),
    }

    vae_type: Vae = Field(default=Vae.WAN, json_schema_extra=ui_field_config(order=3, is_load_param=True, label="VAE"))
    denoising_steps: list[int] = Field(default=[1000, 500], json_schema_extra=ui_field_config(order=1))
    noise_scale: float = Field(default=0.5, ge=0, le=1, json_schema_extra=ui_field_config(order=2, modes=["video"]))

    @model_validator(mode="after")
    def _falling(self) -> WavesConfig:
        if self.denoising_steps != sorted(self.denoising_steps, reverse=True):
            raise ValueError("denoising_steps must fall")
        return self

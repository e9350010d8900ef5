from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


def ui_field_config(**ui: Any) -> dict[str, Any]:
    return {"ui": {"category": "configuration", "is_load_param": False, **ui}}


class ModeDefaults(BaseModel):
    model_config = ConfigDict(extra="forbid")

    default: bool = False
    height: int | None = None
    width: int | None = None
    denoising_steps: list[int] | None = None
    noise_scale: float | None = None
    noise_controller: bool | None = None
    input_size: int | None = None
    default_temporal_interpolation_steps: int | None = None


class BasePipelineConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pipeline_id: ClassVar[str] = "base"
    pipeline_name: ClassVar[str] = "Base Pipeline"
    pipeline_description: ClassVar[str] = "Base pipeline configuration"
    estimated_vram_gb: ClassVar[float | None] = None
    requires_models: ClassVar[bool] = False
    artifacts: ClassVar[list[Any]] = []
    supports_prompts: ClassVar[bool] = True
    inputs: ClassVar[list[str]] = ["video"]
    outputs: ClassVar[list[str]] = ["video"]
    modes: ClassVar[dict[str, ModeDefaults]] = {"text": ModeDefaults(default=True)}

    height: int = Field(default=512, ge=1, description="Output height in pixels")
    width: int = Field(default=512, ge=1, description="Output width in pixels")
    manage_cache: bool = True
    base_seed: Annotated[int, Field(ge=0)] = 42
    denoising_steps: list[int] | None = None
    noise_scale: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    noise_controller: bool | None = None
    input_size: int | None = Field(default=1, ge=1)
    vace_context_scale: float = Field(default=1.0, ge=0.0, le=2.0)

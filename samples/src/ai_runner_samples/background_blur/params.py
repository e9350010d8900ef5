from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.live.pipelines import BaseParams


class BackgroundBlurParams(BaseParams):
    """What can be changed while the blur runs."""

    background: Literal["blur", "grey", "green", "black"] = Field(
        default="blur", description="What becomes of everything that is not a person."
    )
    blur_px: int = Field(default=16, ge=1, le=60, description="How far out of focus the background is.")
    dim: float = Field(default=0.2, ge=0.0, le=1.0, description="How much darker the background is.")
    certainty: float = Field(default=0.5, ge=0.1, le=0.9, description="How sure it must be that something is a person.")
    softness: float = Field(default=0.3, ge=0.0, le=1.0, description="How soft the border between the two is.")
    steadiness: float = Field(default=0.4, ge=0.0, le=0.95, description="How slowly the border moves; less flicker.")

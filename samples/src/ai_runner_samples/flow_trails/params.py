from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.live.pipelines import BaseParams


class FlowTrailsParams(BaseParams):
    """What can be changed while the trails run."""

    persistence: float = Field(default=0.92, ge=0.0, le=0.99, description="Share of a trail that is left one frame on.")
    sensitivity: float = Field(default=1.0, ge=0.1, le=5.0, description="How bright a given speed shines.")
    threshold_px: float = Field(default=0.1, ge=0.0, le=5.0, description="Motion per frame, in pixels, that shows.")
    colours: Literal["direction", "fire", "ice"] = Field(
        default="direction", description="Colour by direction of motion, or one palette for all."
    )
    drift: bool = Field(default=True, description="Let trails be carried along by the motion, like smoke.")
    background: float = Field(default=0.45, ge=0.0, le=1.0, description="Brightness of the picture behind the trails.")

from __future__ import annotations

from pydantic import Field

from runner.live.pipelines import BaseParams


class PosterizeParams(BaseParams):
    """What can be changed while the poster runs."""

    shades: int = Field(default=4, ge=2, le=16, description="Shades per colour channel.")
    contrast: float = Field(default=1.2, ge=0.2, le=3.0, description="Below 1 is flatter, above 1 is harder.")
    negative: bool = Field(default=False, description="Swap light and dark.")

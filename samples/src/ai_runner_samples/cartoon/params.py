from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.live.pipelines import BaseParams


class CartoonParams(BaseParams):
    """What can be changed while the cartoon runs."""

    smoothing: int = Field(default=4, ge=0, le=8, description="How often the picture is smoothed into flat areas.")
    shades: int = Field(default=6, ge=2, le=32, description="Steps from dark to light; fewer looks more printed.")
    saturation: float = Field(default=1.4, ge=0.0, le=3.0, description="How strong the colours are; 0 is grey.")
    outlines: bool = Field(default=True, description="Draw lines around the areas.")
    ink: Literal["black", "blue", "red", "white"] = Field(default="black", description="Colour of the lines.")
    line_detail: float = Field(default=0.5, ge=0.0, le=1.0, description="How faint an edge may be to get a line.")

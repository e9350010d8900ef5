from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.live.pipelines import BaseParams


class EdgesParams(BaseParams):
    """What can be changed while the edges run."""

    line_width: int = Field(default=2, ge=1, le=6, description="How broad the lines are; broad ones skip small detail.")
    strength: float = Field(default=8.0, ge=0.5, le=20.0, description="Brightness of the lines.")
    threshold: float = Field(default=0.04, ge=0.0, le=0.5, description="Edges fainter than this are left out.")
    glow: float = Field(default=0.8, ge=0.0, le=2.0, description="Light that spreads around the lines.")
    colours: Literal["direction", "picture", "white"] = Field(
        default="direction", description="Colour by direction of the edge, from the picture, or none."
    )
    paper: bool = Field(default=False, description="Turn light into dark: a drawing on white paper.")

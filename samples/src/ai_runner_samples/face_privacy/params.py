from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.live.pipelines import BaseParams


class FacePrivacyParams(BaseParams):
    """What can be changed while faces are hidden."""

    cover: Literal["pixelate", "blur", "black"] = Field(default="pixelate", description="How a face is hidden.")
    coarseness: float = Field(default=0.5, ge=0.0, le=1.0, description="How little is left of it.")
    margin: float = Field(default=0.4, ge=0.0, le=2.0, description="How far around the face, in parts of its size.")
    shape: Literal["oval", "box"] = Field(default="oval", description="Outline of what is hidden.")
    certainty: float = Field(
        default=0.4, ge=0.2, le=0.95, description="How sure it must be that something is a face; less hides more."
    )
    hold_frames: int = Field(
        default=12, ge=0, le=120, description="Pictures for which a face that is lost stays hidden where it was."
    )

"""NoopParams: how the pipeline is to behave."""

from __future__ import annotations

from pydantic import Field

from runner.live.pipelines import BaseParams


class NoopParams(BaseParams):
    """All of them can be changed while it runs."""

    width: int = Field(default=512, ge=64, le=1024, multiple_of=64, description="Width of the pictures, in pixels.")
    height: int = Field(default=512, ge=64, le=1024, multiple_of=64, description="Height of the pictures, in pixels.")
    delay_ms: float = Field(default=0.0, ge=0.0, le=10_000.0, description="Time that a batch takes.")
    jitter_ms: float = Field(default=0.0, ge=0.0, le=10_000.0, description="Up to so much more, at random.")
    batch: int = Field(default=1, ge=1, le=64, description="Inputs that are gathered and answered at once.")
    outputs_per_input: int = Field(
        default=1, ge=1, le=16, description="The same picture so many times, spread up to the next input."
    )
    fail_every: int = Field(default=0, ge=0, description="Every so many-th input raises an error; 0 for none.")
    fail_initialize: bool = Field(default=False, description="Refuse to start.")
    fail_update: bool = Field(default=False, description="Refuse parameters that say this.")

"""ScopeParams: what is the same for every Scope pipeline. Imports neither torch nor Scope.

The fields of a pipeline's own config class come on top, see `form`; here they are just let through.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from runner.live.pipelines import BaseParams
from runner.live.pipelines.loader import parse_params

PIPELINE_VARIABLE = "SCOPE_PIPELINE"
DEFAULT_PIPELINE = "longlive"
DEFAULT_PROMPT = "A red fox walks through a snowy forest at sunrise, soft light, film still"


def default_pipeline() -> str:
    """The id that `SCOPE_PIPELINE` names, or ``longlive``."""
    return os.environ.get(PIPELINE_VARIABLE) or DEFAULT_PIPELINE


class WeightedPrompt(BaseModel):
    """One of several prompts that are blended."""

    text: str
    weight: float = Field(default=100.0, ge=0.0, description="Share of this prompt, in relation to the others'.")


class ScopeParams(BaseParams):
    """Parameters of any Scope pipeline; further keys are fields of the pipeline's own config class."""

    model_config = ConfigDict(extra="allow")

    pipeline: str = Field(
        default_factory=default_pipeline,
        validation_alias=AliasChoices("pipeline", "pipeline_id"),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$",
        description="Id of the Scope pipeline, e.g. longlive. A change loads it anew.",
    )
    input_mode: Literal["text", "video"] | None = Field(
        default=None,
        description="video: work on the input's pictures; text: make pictures from the prompts alone. "
        "None: what the pipeline does by default.",
    )
    prompts: str | list[str | WeightedPrompt] = Field(
        default=DEFAULT_PROMPT, description='What to show: a text, or a list like [{"text": "a fox", "weight": 100}].'
    )
    reset_cache: bool = Field(default=False, description="Forget the pictures so far, once; goes off by itself.")
    width: int = Field(default=512, ge=64, le=2048, multiple_of=8, description="Width of the pictures, in pixels.")
    height: int = Field(default=512, ge=64, le=2048, multiple_of=8, description="Height of the pictures, in pixels.")

    @model_validator(mode="before")
    @classmethod
    def _seed_by_its_older_name(cls, values: Any) -> Any:
        """`seed` is what daydreamlive's runner calls Scope's `base_seed`."""
        if isinstance(values, dict) and "seed" in values:
            values = {"base_seed": values["seed"], **{key: value for key, value in values.items() if key != "seed"}}
        return values

    @classmethod
    def check(cls, params: Mapping[str, Any]) -> ScopeParams:
        """Params as far as they are the same for every pipeline; the rest is in `model_extra`.

        Raises:
            ParamsError: with the reason for each refused field.
        """
        checked = parse_params(cls, dict(params))
        assert isinstance(checked, ScopeParams)
        return checked

    def weighted_prompts(self) -> list[dict[str, Any]]:
        """The prompts as Scope takes them: ``[{"text": ..., "weight": ...}]``."""
        prompts = [self.prompts] if isinstance(self.prompts, str) else self.prompts
        weighted = [WeightedPrompt(text=prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        return [prompt.model_dump() for prompt in weighted]

"""Parameters of the ComfyUI pipeline: those of Livepeer's comfyui by their names, and where the server is.

Light: neither torch nor aiohttp.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from runner.live.pipelines import BaseParams

from .address import ServerAddress
from .errors import SettingsError, WorkflowError
from .workflow import Workflow

# What Livepeer's pipeline runs when nothing is said: the picture goes through (comfystream's default workflow).
DEFAULT_WORKFLOW: dict[str, Any] = {
    "1": {"inputs": {"images": ["2", 0]}, "class_type": "SaveTensor", "_meta": {"title": "SaveTensor"}},
    "2": {"inputs": {}, "class_type": "LoadTensor", "_meta": {"title": "LoadTensor"}},
}


class ComfyUIParams(BaseParams):
    """See the fields. `server_url` and `folder` say where ComfyUI is; the environment's word counts more."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(default=512, ge=64, le=2048, multiple_of=64, description="Width of the pictures, in pixels.")
    height: int = Field(default=512, ge=64, le=2048, multiple_of=64, description="Height of the pictures, in pixels.")
    output_width: int | None = Field(
        default=None,
        ge=8,
        le=8192,
        description="Width of what the workflow gives, in pixels, where it changes the size.",
    )
    output_height: int | None = Field(
        default=None,
        ge=8,
        le=8192,
        description="Height of what the workflow gives, where it is another, in pixels.",
    )
    prompt: dict[str, Any] = Field(
        default_factory=lambda: DEFAULT_WORKFLOW,
        description="The workflow: what ComfyUI's Export (API) writes, as an object or as text; live.",
    )
    inputs: dict[str, str | bool | int | float | None] = Field(
        default_factory=dict,
        description="Values of the workflow's nodes, live: '6.text' or 'Positive prompt.text', and a value.",
    )
    prompts_in_flight: int = Field(
        default=2, ge=1, le=4, description="Pictures given to ComfyUI before the first of them is back."
    )
    frame_timeout_s: float = Field(
        default=10.0, ge=0.1, le=600, description="A picture that takes longer is interrupted, in seconds; live."
    )
    load_timeout_s: float = Field(
        default=170.0, ge=1, le=3600, description="The same for a workflow's first picture, which loads its models."
    )
    transport: Literal["auto", "shared_memory", "upload"] = Field(
        default="auto", description="How pictures go to the server; auto tries shared memory first."
    )
    server_url: str = Field(default="", description="A ComfyUI server that runs already: http://127.0.0.1:8188.")
    folder: str = Field(default="", description="A ComfyUI folder (with main.py): its server is started and watched.")

    @model_validator(mode="before")
    @classmethod
    def _one_prompt(cls, values: Any) -> Any:
        """`prompts`, comfystream's name, is taken for `prompt`; a list must have one workflow in it."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if "prompts" in values:
            if "prompt" in values:
                raise ValueError("prompt and prompts are both given: they are the same thing")
            values["prompt"] = values.pop("prompts")
        if isinstance(values.get("prompt"), list):
            if len(values["prompt"]) != 1:
                raise ValueError(f"one workflow runs at a time, {len(values['prompt'])} are given")
            values["prompt"] = values["prompt"][0]
        return values

    @field_validator("prompt", mode="before")
    @classmethod
    def _workflow(cls, value: Any) -> dict[str, Any]:
        """A JSON object, or the same as text; an empty text is the default workflow."""
        if value == "":
            return DEFAULT_WORKFLOW
        try:
            return Workflow.parse(value).nodes
        except WorkflowError as error:
            raise ValueError(str(error)) from error

    @field_validator("server_url")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        if not value:
            return value
        address = ServerAddress.parse(value)
        if address.user or address.password:
            # Params are told to the network with the stream's status.
            raise SettingsError("the address has credentials in it, and params are public: set COMFYUI_URL instead")
        return address.url

    def get_output_resolution(self) -> tuple[int, int]:
        """(width, height) of what the workflow gives."""
        return (self.output_width or self.width, self.output_height or self.height)

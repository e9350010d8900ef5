"""PipelineSpec: a pipeline by name and import path. It survives a JSON round trip."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator


class PipelineSpec(BaseModel):
    """Names a pipeline class and its params class, without importing either.

    Import paths have the form ``package.module:Class``.

    Attributes:
        name: what the network calls it (must equal the model id of the container); by default the
            class name in lower case without the suffix ``pipeline``.
        pipeline_cls: a `Pipeline` subclass, or a transform function or class (see `transform`).
        params_cls: a `BaseParams` subclass; None: `BaseParams` itself, or what a transform's
            annotation names.
        initial_params: given to `Pipeline.initialize` at start.
        typed_params: name -> text of those that a person has typed, see `loader.as_typed`.
    """

    name: str = ""
    pipeline_cls: str
    params_cls: str | None = None
    initial_params: dict[str, Any] = {}
    typed_params: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_from_class(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("name") and isinstance(values.get("pipeline_cls"), str):
            class_name = values["pipeline_cls"].rsplit(":", 1)[-1]
            values = {**values, "name": class_name.lower().removesuffix("pipeline")}
        return values


_BUILTIN = {"noop": "runner.live.pipelines.noop:Noop"}


def builtin_pipeline_spec(name: str) -> PipelineSpec | None:
    """The spec of a pipeline that comes with the runner (only ``noop``), None for any other name."""
    path = _BUILTIN.get(name)
    return PipelineSpec(name=name, pipeline_cls=path) if path else None

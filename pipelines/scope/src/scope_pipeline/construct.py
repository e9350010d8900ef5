"""Making a pipeline: arguments from its config class, as far as its constructor takes them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from enum import Enum
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from .errors import ConstructionFailed
from .registry import ScopePipeline

logger = logging.getLogger(__name__)

_MANAGER = "scope.server.pipeline_manager"


def construct(pipeline: ScopePipeline, values: Mapping[str, Any], models: Path) -> Any:
    """A new instance. Takes as long as loading its models.

    Scope's own pipelines that ask for a `config` want paths of weights in it, which only Scope's server knows for
    each of them: its loader makes those. All others are called with what their constructor names.

    Args:
        values: parameter -> value, None left out.
        models: Scope's folder for models.

    Raises:
        ConstructionFailed: in one sentence, whatever the constructor raised.
    """
    shipped = pipeline.node_class.__module__.startswith("scope.core.pipelines.")
    try:
        if shipped and _wants_config(pipeline.node_class):
            loader = _own_loader()
            if loader is not None:
                telling = {"stage_callback": _log_stage} if "stage_callback" in signature(loader).parameters else {}
                return loader(pipeline.id, dict(values), **telling)
        return pipeline.node_class(**constructor_arguments(pipeline, values, models))
    except ConstructionFailed:
        raise
    except Exception as error:
        raise ConstructionFailed(_why(pipeline, error)).with_traceback(error.__traceback__) from error


def constructor_arguments(pipeline: ScopePipeline, values: Mapping[str, Any], models: Path) -> dict[str, Any]:
    """Keyword arguments for a pipeline's constructor: those it names, or all values if it takes any.

    Raises:
        ConstructionFailed: it demands one that nobody can give.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parameters = _parameters(pipeline.node_class.__init__)
    offered: dict[str, Any] = {**values, "device": device, "models_dir": models, "stage_callback": _log_stage}
    if _wants_config(pipeline.node_class):
        offered["config"] = _config(values, models)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    # What is offered beside the values is for those who name it.
    arguments = {name: value for name, value in offered.items() if name in parameters or (takes_all and name in values)}
    lacking = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind in _NAMED and name not in arguments
    ]
    if lacking:
        raise ConstructionFailed(
            f"Scope pipeline '{pipeline.id}' wants {', '.join(lacking)}, which its config class "
            f"{pipeline.config_class.__name__} does not define"
        )
    return arguments


def _wants_config(node_class: Any) -> bool:
    """Whether the constructor demands a `config`; one that may be left out is that of every node, for the graph."""
    config = _parameters(node_class.__init__).get("config")
    return config is not None and config.default is config.empty


_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Parameters of a method by name, without self."""
    return dict(list(signature(function).parameters.items())[1:])


def _config(values: Mapping[str, Any], models: Path) -> Any:
    """The OmegaConf object that some constructors read: all values, and `model_dir`."""
    from omegaconf import OmegaConf

    plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    return OmegaConf.create({**plain, "model_dir": str(models)}, flags={"allow_objects": True})


def _own_loader() -> Callable[..., Any] | None:
    """What Scope's server loads its own pipelines with; None in a Scope that has none, or cannot import it."""
    try:
        manager = importlib.import_module(_MANAGER).PipelineManager()
    except (ImportError, AttributeError) as error:
        logger.warning("Scope's own loader cannot be used (%s): paths of weights are left to the pipeline", error)
        return None
    loader: Callable[..., Any] | None = getattr(manager, "_load_pipeline_implementation", None)
    return loader


def _log_stage(stage: str) -> None:
    logger.info("Scope: %s", stage)


def _why(pipeline: ScopePipeline, error: Exception) -> str:
    import torch

    text = f"Scope pipeline '{pipeline.id}' could not be made: {type(error).__name__}: {error}"
    need_gb = getattr(pipeline.config_class, "estimated_vram_gb", None)
    if isinstance(error, torch.cuda.OutOfMemoryError) and need_gb is not None:
        free, total = (figure / 2**30 for figure in torch.cuda.mem_get_info())
        text += f". It needs about {need_gb:g} GB of GPU memory; {free:.1f} of {total:.1f} GB are free"
    return text

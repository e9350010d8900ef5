"""Finding Scope, its pipelines and plugins; and when one is not there, saying why and what to do."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from .errors import PipelineUnavailable, ScopeNotInstalled, UnknownScopePipeline
from .folders import use_model_folders

_REGISTRY = "scope.core.pipelines.registry"
_SOURCE = "https://github.com/daydreamlive/scope"


@dataclass(frozen=True, slots=True)
class ScopePipeline:
    """A pipeline that Scope knows.

    Attributes:
        id: as in Scope's registry.
        config_class: pydantic class of its parameters, with `modes`, `artifacts` and `estimated_vram_gb`.
        node_class: the pipeline itself; None where only its config class can be had, as on a machine without a GPU.
    """

    id: str
    config_class: Any
    node_class: Any = None

    @property
    def artifacts(self) -> list[Any]:
        """Files that it needs, as Scope describes them."""
        if self.node_class is not None and hasattr(self.node_class, "get_artifacts"):
            return list(self.node_class.get_artifacts())
        return list(getattr(self.config_class, "artifacts", None) or [])


def load_registry() -> Any:
    """Scope's `PipelineRegistry`, filled: the first time this imports its pipelines and plugins (seconds).

    Raises:
        ScopeNotInstalled: it cannot be imported.
    """
    use_model_folders(os.environ)
    try:
        return importlib.import_module(_REGISTRY).PipelineRegistry
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == "scope" or _REGISTRY.startswith(f"{missing}."):
            raise ScopeNotInstalled(_not_installed(missing)) from error
        raise ScopeNotInstalled(
            f"Daydream Scope is there, but cannot be imported without '{missing}': "
            f"{sys.executable} -m pip install {missing.split('.')[0]}"
        ) from error


def _not_installed(missing: str) -> str:
    found = importlib.util.find_spec("scope") if missing != "scope" else None
    if found is not None:
        place = found.origin or next(iter(found.submodule_search_locations or ()), "?")
        return f"the package 'scope' in {place} is not Daydream Scope, or one from before its registry: no '{missing}'"
    return (
        f"Daydream Scope is not installed in {sys.executable}. It is not on PyPI, and brings its own versions of "
        f"Python (3.12) and torch: install it from its repository ({_SOURCE}), as docs/scope.md says"
    )


def find_pipeline(pipeline_id: str) -> ScopePipeline:
    """The pipeline of an id, ready to be constructed.

    Raises:
        ScopeNotInstalled: there is no Scope.
        PipelineUnavailable: Scope has it, but not on this machine.
        UnknownScopePipeline: there is none of that id; names those that are near.
    """
    pipeline = find_config(pipeline_id)
    if pipeline.node_class is None:
        raise PipelineUnavailable(_why_unavailable(pipeline))
    return pipeline


def find_config(pipeline_id: str) -> ScopePipeline:
    """The pipeline of an id, if need be without its class: what it needs can be fetched on a machine without a GPU.

    Raises:
        ScopeNotInstalled, UnknownScopePipeline: as `find_pipeline`.
        PipelineUnavailable: not even its config class can be imported.
    """
    registry = load_registry()
    node_class = registry.get(pipeline_id)
    if node_class is not None:
        return ScopePipeline(pipeline_id, registry.get_config_class(pipeline_id), node_class)
    config_class = _shipped_config(pipeline_id)
    if config_class is None:
        raise UnknownScopePipeline(_unknown(pipeline_id))
    return ScopePipeline(pipeline_id, config_class)


def registered_ids() -> list[str]:
    """Ids of all pipelines that can be constructed here, sorted."""
    return sorted(load_registry().list_pipelines())


def _shipped_config(pipeline_id: str) -> Any:
    """Config class of a pipeline that Scope ships but has not registered; None if there is none.

    Scope leaves out what needs a GPU where there is none, and what cannot be imported.
    """
    package = _package(pipeline_id)
    if importlib.util.find_spec(package) is None:
        return None
    try:
        module = importlib.import_module(f"{package}.schema")
    except Exception as error:
        raise PipelineUnavailable(_not_importable(pipeline_id, error)) from error
    own = (value for value in vars(module).values() if getattr(value, "pipeline_id", None) == pipeline_id)
    return next(own, None)


def _package(pipeline_id: str) -> str:
    """Where Scope keeps a pipeline that it ships: folders are named by ids, with underscores."""
    return f"scope.core.pipelines.{re.sub(r'[^A-Za-z0-9]', '_', pipeline_id)}"


def _why_unavailable(pipeline: ScopePipeline) -> str:
    import torch

    need_gb = getattr(pipeline.config_class, "estimated_vram_gb", None)
    if need_gb is not None and not torch.cuda.is_available():
        need = f"a GPU with {need_gb:g} GB of memory"
        return f"Scope pipeline '{pipeline.id}' needs {need}, and torch finds none.{_others()}"
    try:
        importlib.import_module(f"{_package(pipeline.id)}.pipeline")
    except Exception as error:
        return _not_importable(pipeline.id, error)
    return f"Scope has not registered its pipeline '{pipeline.id}'; its log says why.{_others()}"


def _not_importable(pipeline_id: str, error: Exception) -> str:
    return f"Scope pipeline '{pipeline_id}' cannot be imported: {type(error).__name__}: {error}.{_others()}"


def _others() -> str:
    ids = registered_ids()
    return f" Here run: {', '.join(ids)}." if ids else ""


def _unknown(pipeline_id: str) -> str:
    ids = registered_ids()
    near = difflib.get_close_matches(pipeline_id, ids, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(ids) or 'none'}."
    return f"Scope has no pipeline '{pipeline_id}'.{guess}{_failed_plugins()}"


def _failed_plugins() -> str:
    """What Scope says of plugins that it could not load; one of them may have been meant."""
    from scope.core import plugins

    manager = getattr(plugins, "get_plugin_manager", None)
    failed = manager().get_failed_plugins() if manager is not None else []
    told = [f"{plugin.package_name} ({plugin.error_message})" for plugin in failed]
    return f" Plugins that failed to load: {'; '.join(told)}." if told else ""

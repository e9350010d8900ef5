"""`pipeline`: the decorator that makes a pipeline of a function or a class, and names it.

    @pipeline(name="dim", params=DimParams)
    def dim(frame: VideoFrame, params: DimParams) -> torch.Tensor:
        return frame.tensor * params.brightness

    if __name__ == "__main__":
        start_app(pipeline=dim._spec)

Names, signatures and this module's path are those of the decorator proposed for Livepeer's ai-runner (branch
``feat/unified-pipeline-interface`` of rickstaa/ai-runner, commit a723f1e). Other than for a bare transform, the
function gets the `VideoFrame`, hooks get the params as keywords, and `torch.inference_mode` is up to the author. A
class has a method `transform(frame, params)` and, all optional and sync or async:

- ``on_ready(**params)``: once, before the first frame: load models here.
- ``on_update(**params)``: new params are there. Raise to refuse them; return a task where a reload is needed.
- ``on_stop()``: once, at the end.
- ``prepare_models()`` (class or static method): download and compile ahead of time.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import NotAPipelineError
from ..trickle.frame import VideoFrame, VideoOutput
from .interface import BaseParams, Pipeline
from .spec import PipelineSpec
from .transform import TransformPipeline

if TYPE_CHECKING:
    import torch


def pipeline(
    name: str,
    params: type[BaseParams] | None = None,
    initial_params: dict[str, Any] | None = None,
) -> Callable[[Any], type[DecoratedPipeline]]:
    """Make a pipeline of what is decorated, which is a `Pipeline` class from then on.

    Args:
        name: what the network calls it; must be the model id of the container.
        params: its params class, by default `BaseParams`.
        initial_params: given to `on_ready` at start.

    Raises:
        NotAPipelineError: a class without `transform`, or something that is neither class nor function.
    """

    def decorate(target: Any) -> type[DecoratedPipeline]:
        _check(target)
        if inspect.isclass(target) and issubclass(target, Pipeline):
            # The other methods of the interface are the decorator's part: an instance can be made without them.
            target.__abstractmethods__ = frozenset()
        params_class = params or BaseParams
        module = _module_name(target.__module__)
        attributes = {
            "target": target if inspect.isclass(target) else staticmethod(target),
            "params_class": params_class,
            "_spec": _spec(name, f"{module}:{target.__qualname__}", params_class, initial_params or {}),
            "__module__": target.__module__,
            "__qualname__": target.__qualname__,
            "__doc__": target.__doc__,
        }
        return type(target.__name__, (DecoratedPipeline,), attributes)

    return decorate


def _check(target: Any) -> None:
    if inspect.isclass(target):
        if not callable(getattr(target, "transform", None)):
            raise NotAPipelineError(f"@pipeline: class {target.__name__} has no method transform(frame, params)")
    elif not inspect.isroutine(target):
        raise NotAPipelineError(f"@pipeline decorates a function or a class, not {type(target).__name__}")


def _module_name(name: str) -> str:
    """What the pipeline process imports a module by: a script that runs as ``__main__`` has its file's name there."""
    if name != "__main__":
        return name
    main = sys.modules[name]
    spec = getattr(main, "__spec__", None)  # of ``python -m``
    return spec.name if spec is not None else Path(getattr(main, "__file__", None) or name).stem


def _spec(name: str, path: str, params_class: type[BaseParams], initial_params: dict[str, Any]) -> PipelineSpec:
    # A class beside the pipeline cannot be loaded without it; the pipeline process finds it by `params_class`.
    own_module = params_class.__module__ not in ("__main__", path.partition(":")[0], BaseParams.__module__)
    params_cls = f"{params_class.__module__}:{params_class.__qualname__}" if own_module else None
    return PipelineSpec(name=name, pipeline_cls=path, params_cls=params_cls, initial_params=initial_params)


class DecoratedPipeline(TransformPipeline):
    """A full pipeline around what was decorated.

    Attributes:
        _spec: names it, for `runner.app.start_app`.
    """

    _spec: PipelineSpec

    async def initialize(self, **params: Any) -> None:
        self._params = self._parse(params)
        await self._open_target()
        await self._call_hook("on_ready", params)

    async def update_params(self, **params: Any) -> asyncio.Task[None] | None:
        new = self._parse(params)
        async with self._serial:
            reload_task = await self._call_hook("on_update", params)
            self._params = new
        return reload_task if isinstance(reload_task, asyncio.Task) else None

    async def _work(self, batch: list[tuple[VideoFrame, str]]) -> torch.Tensor | list[VideoOutput] | None:
        ((frame, request_id),) = batch
        result = await self._call(self._transform, frame, self._params)
        if isinstance(result, VideoOutput):
            return [VideoOutput(result.frame, request_id)]
        tensor: torch.Tensor | None = result
        return tensor

    async def _call_hook(self, name: str, params: dict[str, Any]) -> Any:
        hook = getattr(self._instance, name, None)
        return await self._call(hook, **params) if hook is not None else None

    async def _call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*arguments, **keywords)
        return await self._in_worker(partial(function, *arguments, **keywords))

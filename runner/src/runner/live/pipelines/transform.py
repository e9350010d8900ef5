"""The short way to write a pipeline: one `transform`, made into a full `Pipeline`.

    class Invert:
        def transform(self, frame: torch.Tensor, params: InvertParams) -> torch.Tensor:
            return 1 - frame * params.strength

or just the function. `frame` is float32 (1, H, W, 3), RGB in [0, 1]; so is what comes back, where
(H, W, 3) is taken too, (N, H, W, 3) makes N outputs, and None makes none. The memory of outputs may be
written again in the next call. Synchronous code runs on the thread, and with the context variables, with
which its module was imported, off the event loop, in ``torch.inference_mode``; ``async def`` runs on the
loop.

The params class is what the parameter `params` is annotated with; leave the parameter out if there
are none. A class may have, all optional and sync or async:

- ``batch_size = N``: frame is (N, H, W, 3), N inputs at once; (N, H, W, 3) back gives each its output.
- ``on_ready(params)``: once, before the first frame: load models here.
- ``on_update(params)``: new params are there; raise to refuse them, and the old ones stay.
- ``on_stop()``: once, at the end.
- ``prepare_models()`` (class or static method): download and compile ahead of time.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import NotAPipelineError
from ..trickle.frame import VideoFrame, VideoOutput
from .interface import BaseParams, Pipeline
from .loader import parse_params
from .worker_call import call_in_worker, script_thread

if TYPE_CHECKING:
    import torch


_FIRST_INTERVAL_S = 1 / 120  # taken for that between two inputs before there were two


def is_transform(target: object) -> bool:
    """Whether an object is a transform class (it has the method) or a transform function."""
    if inspect.isclass(target):
        return callable(getattr(target, "transform", None))
    return inspect.isroutine(target)


def params_class_of(target: Any) -> type[BaseParams] | None:
    """The params class that a transform's annotation names; None if it takes no params.

    Raises:
        NotAPipelineError: its parameters are not (frame) or (frame, params), or the annotation
            cannot be resolved or is no `BaseParams` class.
    """
    function: Any = getattr(target, "transform", target)
    names = list(inspect.signature(function).parameters)
    if inspect.isclass(target) and names and not isinstance(inspect.getattr_static(target, "transform"), staticmethod):
        names = names[1:]  # self
    name = getattr(target, "__name__", "transform")
    if not 1 <= len(names) <= 2:
        given = ", ".join(names)
        raise NotAPipelineError(f"{name}: a transform takes (frame) or (frame, params), this one takes ({given})")
    if len(names) == 1:
        return None
    if names[1] not in getattr(function, "__annotations__", {}):
        return BaseParams
    annotation = _annotation(function, names[1], name)
    if not (inspect.isclass(annotation) and issubclass(annotation, BaseParams)):
        raise NotAPipelineError(
            f"{name}: the annotation of '{names[1]}' must be a subclass of runner.live.pipelines.BaseParams, "
            f"not {annotation!r}"
        )
    return annotation


def _annotation(function: Any, parameter: str, name: str) -> Any:
    """One resolved annotation; the others may name things that are only imported for type checkers."""
    annotation = function.__annotations__[parameter]
    if not isinstance(annotation, str):
        return annotation
    bare = type("_OneAnnotation", (), {"__annotations__": {parameter: annotation}, "__module__": function.__module__})
    try:
        return typing.get_type_hints(bare, globalns=inspect.unwrap(function).__globals__)[parameter]
    except NameError as error:
        raise NotAPipelineError(
            f"{name}: the params class '{annotation}' is not imported in {function.__module__} "
            "(an import under TYPE_CHECKING is not enough: the runner needs the class)"
        ) from error


def pipeline_from_transform(target: Any) -> type[TransformPipeline]:
    """A `Pipeline` class around a transform function or class. Raises as `params_class_of`."""
    name = getattr(target, "__name__", "transform")
    attributes = {
        "target": staticmethod(target) if not inspect.isclass(target) else target,
        "params_class": params_class_of(target),
        "__module__": target.__module__,
        "__doc__": target.__doc__,
    }
    return type(name, (TransformPipeline,), attributes)


class TransformPipeline(Pipeline):
    """A full pipeline around one transform; `pipeline_from_transform` makes the subclasses.

    Attributes:
        target: the transform function or class.
        params_class: None if the transform takes no params.
    """

    target: Any
    params_class: type[BaseParams] | None

    def __init__(self) -> None:
        self._instance: Any = None
        self._transform: Callable[..., Any]
        self._params: BaseParams | None = None
        self._outputs: asyncio.Queue[VideoOutput] = asyncio.Queue()
        self._batch: list[tuple[VideoFrame, str]] = []
        self._batch_size = 1
        self._previous: int | None = None
        self._interval = 0  # between the two latest inputs, in units of their time base
        self._worker: Executor
        self._serial = asyncio.Lock()

    async def initialize(self, **params: Any) -> None:
        self._params = self._parse(params)
        await self._open_target()
        self._batch_size = int(getattr(self._instance, "batch_size", 1))
        await self._hook("on_ready", self._params)

    async def _open_target(self) -> None:
        self._worker = script_thread()
        if not inspect.isclass(self.target):
            self._transform = self.target
            return
        # A class without coroutines may use `asyncio.run`; one with them may start tasks.
        has_coroutines = any(map(inspect.iscoroutinefunction, map(self.target.__dict__.get, dir(self.target))))
        self._instance = self.target() if has_coroutines else await self._in_worker(self.target)
        self._transform = self._instance.transform

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        if self._previous is None:
            self._interval = int(_FIRST_INTERVAL_S / frame.time_base) if frame.time_base else 0
        elif frame.timestamp > self._previous:
            self._interval = frame.timestamp - self._previous
        self._previous = frame.timestamp
        self._batch.append((frame, request_id))
        if len(self._batch) >= self._batch_size:
            await self.flush()

    async def flush(self) -> None:
        """Transform what has been gathered, even if it is less than a whole batch (end of a stream)."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        async with self._serial:
            result = await self._work(batch)
        for output in result if isinstance(result, list) else _outputs(batch, result, self._interval):
            await self._outputs.put(output)

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self._outputs.get()

    async def update_params(self, **params: Any) -> asyncio.Task[None] | None:
        new = self._parse(params)
        async with self._serial:
            await self._hook("on_update", new)
            self._params = new
        return None

    async def stop(self) -> None:
        await self._hook("on_stop")
        self._worker.shutdown(wait=False, cancel_futures=True)

    @classmethod
    def prepare_models(cls) -> Any:
        """What the hook returns: a coroutine of one that is async is awaited by whoever calls this."""
        hook = getattr(cls.target, "prepare_models", None)
        return hook() if hook is not None else None

    def _parse(self, params: dict[str, Any]) -> BaseParams | None:
        if self.params_class is None:
            parse_params(BaseParams, params)
            return None
        return parse_params(self.params_class, params)

    async def _work(self, batch: list[tuple[VideoFrame, str]]) -> torch.Tensor | list[VideoOutput] | None:
        """Call the transform; what it gave back."""
        import torch

        tensor = batch[0][0].tensor if len(batch) == 1 else torch.cat([frame.tensor for frame, _ in batch])
        result: torch.Tensor | None = await self._call_transform(tensor)
        return result

    async def _call_transform(self, tensor: torch.Tensor) -> Any:
        arguments = (tensor,) if self.params_class is None else (tensor, self._params)
        if inspect.iscoroutinefunction(self._transform):
            return await self._transform(*arguments)
        return await self._in_worker(partial(_inference, self._transform, *arguments))

    async def _in_worker(self, call: Callable[[], Any]) -> Any:
        return await call_in_worker(self._worker, call)

    async def _hook(self, name: str, *arguments: Any) -> None:
        hook = getattr(self._instance, name, None)
        if hook is None:
            return
        if self.params_class is None and arguments:
            arguments = () if not inspect.signature(hook).parameters else arguments
        if inspect.iscoroutinefunction(hook):
            await hook(*arguments)
        else:
            await self._in_worker(partial(hook, *arguments))


def _inference(transform: Callable[..., Any], *arguments: Any) -> Any:
    import torch

    with torch.inference_mode():
        return transform(*arguments)


def _outputs(batch: list[tuple[VideoFrame, str]], result: torch.Tensor | None, interval: int) -> list[VideoOutput]:
    """Pair what a transform gave back with the inputs' timestamps.

    As many as the inputs: one each. More or fewer: spread evenly over the time of the batch, where
    `interval` is that between two inputs, in units of their time base.
    """
    if result is None:
        return []
    if getattr(result, "ndim", 0) != 4 or (result.shape[0] == 1 and len(batch) == 1):
        # One picture, or something that is none: the output check says what was expected.
        frame, request_id = batch[0]
        return [VideoOutput(frame.replace_tensor(result), request_id)]
    tensors = [result[index : index + 1] for index in range(result.shape[0])]
    if len(tensors) == len(batch):
        pairs = zip(batch, tensors, strict=True)
        return [VideoOutput(frame.replace_tensor(tensor), request_id) for (frame, request_id), tensor in pairs]
    first, request_id = batch[0]
    span = interval * len(batch)
    outputs = []
    for index, tensor in enumerate(tensors):
        timestamp = first.timestamp + span * index // len(tensors)
        frame = VideoFrame(tensor, timestamp, first.time_base, dict(first.log_timestamps))
        frame.side_data = first.side_data
        outputs.append(VideoOutput(frame, request_id))
    return outputs

"""PipelineRun: a pipeline in this process, driven the way the pipeline process drives it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from ..live.pipelines import BaseParams, Pipeline, PipelineSpec
from ..live.pipelines.loader import load_params_class, load_pipeline_class, parse_params
from ..live.process.tensor import check_output
from ..live.trickle.frame import VideoFrame, VideoOutput

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Hangs(AssertionError):
    """A call of the pipeline, or an output that must come, took longer than anybody wants to wait."""


@dataclass(frozen=True)
class Given:
    """An output of a pipeline.

    Attributes:
        time_s: presentation time, exactly.
        tensor: as the pipeline gave it. picture: a copy from that moment, float32 (H, W, 3) on the CPU.
    """

    time_s: Fraction
    request_id: str
    tensor: torch.Tensor
    picture: torch.Tensor

    @classmethod
    def of(cls, output: VideoOutput) -> Given:
        """Raises OutputError if it is no picture."""
        width, height = check_output(output.tensor)
        picture = output.tensor.detach().reshape(height, width, 3).float().cpu().clone()
        time_base = Fraction(output.time_base)
        if time_base <= 0:
            raise ValueError(f"an output has the time base {time_base}: pass on that of the input")
        return cls(output.timestamp * time_base, output.request_id, output.tensor, picture)


class PipelineRun:
    """One instance, from `initialize` to `stop`: frames go in by one task, outputs are taken by another.

    Attributes:
        given: the outputs so far, in the order in which they came.
    """

    def __init__(self, spec: PipelineSpec, patience_s: float) -> None:
        """`patience_s`: more than that, and a call of the pipeline is taken to hang."""
        pipeline_class = load_pipeline_class(spec.pipeline_cls)
        self.pipeline: Pipeline = pipeline_class()
        self.given: list[Given] = []
        self._params_class = params_class(spec, pipeline_class)
        self._patience_s = patience_s
        self._more = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None

    async def initialize(self, params: dict[str, Any]) -> None:
        """Raises ParamsError, or what the pipeline raises."""
        parse_params(self._params_class, params)
        await self._in_time(self.pipeline.initialize(**params), "initialize")

    def take(self) -> None:
        """Begin to take outputs."""
        self._taking = asyncio.create_task(self._take())

    async def feed(self, frames: Iterable[VideoFrame], request_id: str) -> None:
        """Put frames in, one after the other."""
        for frame in frames:
            await self._in_time(self.pipeline.put_video_frame(frame, request_id), "put_video_frame")

    async def flush(self) -> None:
        """The stream is over: have what is gathered worked on, where the pipeline can do that."""
        flush = getattr(self.pipeline, "flush", None)
        if flush is not None:
            await self._in_time(flush(), "flush")

    async def expect(self, count: int) -> None:
        """Wait until that many outputs have come since the beginning.

        Raises:
            Hangs: they do not come. Exception: what taking one of them raised.
        """
        try:
            await asyncio.wait_for(self._enough(count), self._patience_s)
        except asyncio.TimeoutError:
            raise Hangs(
                f"{count} outputs were expected, {len(self.given)} came within {self._patience_s:g} s"
            ) from None
        if self._failed:
            assert self._taking is not None
            self._taking.result()

    async def update(self, params: dict[str, Any]) -> Any:
        """New params, looked at by their class first, as the runner does it: what `update_params` returned."""
        parse_params(self._params_class, params)
        return await self._in_time(self.pipeline.update_params(**params), "update_params")

    async def stop(self) -> None:
        """Stop it, in the order of the pipeline process: nobody takes or puts any more. Safe to call twice."""
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        await self._in_time(self.pipeline.stop(), "stop")

    @property
    def _failed(self) -> bool:
        return self._taking is not None and self._taking.done()

    async def _enough(self, count: int) -> None:
        while len(self.given) < count and not self._failed:
            self._more.clear()
            await self._more.wait()

    async def _take(self) -> None:
        try:
            while True:
                self.given.append(Given.of(await self.pipeline.get_processed_video_frame()))
                self._more.set()
        finally:
            # In a moment, when this task counts as done.
            asyncio.get_running_loop().call_soon(self._more.set)

    async def _in_time(self, call: Awaitable[T], name: str) -> T:
        try:
            return await asyncio.wait_for(call, self._patience_s)
        except asyncio.TimeoutError:
            raise Hangs(f"{name} did not return within {self._patience_s:g} s") from None


def params_class(spec: PipelineSpec, pipeline_class: type[Pipeline]) -> type[BaseParams]:
    """The class that checks the params: the spec's, else the one that a transform's annotation names."""
    named = load_params_class(spec)
    return named if spec.params_cls else getattr(pipeline_class, "params_class", None) or named


@asynccontextmanager
async def pipeline_run(spec: PipelineSpec, patience_s: float) -> AsyncIterator[PipelineRun]:
    """A run that is initialized with the spec's params, and stopped at the end."""
    run = PipelineRun(spec, patience_s)
    await run.initialize(spec.initial_params)
    run.take()
    try:
        yield run
    finally:
        await run.stop()


async def prepare(spec: PipelineSpec) -> None:
    """Call `prepare_models`, which may be a coroutine. Raises what it raises."""
    prepare_models: Callable[[], Any] = load_pipeline_class(spec.pipeline_cls).prepare_models
    prepared = prepare_models()
    if inspect.isawaitable(prepared):
        await prepared

"""Pipelines in the decorator style: a function, a plain class, and a class on top of `Pipeline`."""

import asyncio
import logging

import torch
from pydantic import Field

from runner.app import start_app
from runner.live.pipelines import BaseParams, Pipeline, pipeline
from runner.live.trickle import VideoFrame, VideoOutput


@pipeline(name="green-shift")
async def green_shift(frame: VideoFrame, params: BaseParams) -> torch.Tensor:
    tensor = frame.tensor.clone()
    tensor[:, :, :, 1] = torch.clamp(tensor[:, :, :, 1] + 0.3, -1.0, 1.0)
    return tensor


class OutlineParams(BaseParams):
    threshold: float = Field(default=0.1, ge=0.0, le=1.0)
    kernel: int = 3


@pipeline(name="outline", params=OutlineParams, initial_params={"threshold": 0.2})
class Outline(Pipeline):
    """Synchronous hooks; the threshold is kept by them, as authors do."""

    def on_ready(self, **params):
        self._threshold = params.get("threshold", 0.1)
        self._started = [super().__init__()]

    def transform(self, frame: VideoFrame, params: OutlineParams) -> torch.Tensor:
        assert isinstance(params, OutlineParams)
        grey = frame.tensor.mean(dim=-1, keepdim=True)
        edges = (grey - grey.roll(1, dims=2)).abs() > self._threshold
        return edges.float().expand(-1, -1, -1, 3)

    def on_update(self, **params):
        if params.get("kernel", 3) % 2 == 0:
            raise ValueError("the kernel must be odd")
        self._threshold = params.get("threshold", 0.1)

    def on_stop(self):
        logging.info("Outline stopped")


@pipeline(name="models", params=OutlineParams)
class Models:
    """A plain class with asynchronous hooks, a reload, and outputs of its own."""

    prepared = 0

    async def on_ready(self, **params):
        await self._load(params.get("kernel", 3))

    async def _load(self, kernel):
        await asyncio.sleep(0)
        self._kernel = kernel

    async def transform(self, frame: VideoFrame, params: OutlineParams) -> VideoOutput:
        return VideoOutput(frame.replace_tensor(frame.tensor / self._kernel), "another request")

    async def on_update(self, **params):
        if params.get("kernel", 3) == self._kernel:
            return None
        return asyncio.create_task(self._load(params["kernel"]))

    async def on_stop(self):
        self._kernel = None

    @classmethod
    async def prepare_models(cls):
        cls.prepared += 1


if __name__ == "__main__":
    start_app(pipeline=green_shift._spec)

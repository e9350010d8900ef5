"""Workflows for tests, pictures to send through them, and a pipeline that does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import torch

from comfyui_pipeline.pipeline import ComfyUI
from runner.live.trickle import VideoFrame, VideoOutput

PATIENCE_S = 60.0


@asynccontextmanager
async def running_pipeline(**params: Any) -> AsyncIterator[ComfyUI]:
    """A pipeline for pictures of 64x64, initialized, and stopped at the end."""
    pipeline = ComfyUI()
    await pipeline.initialize(**{"width": 64, "height": 64, **params})
    try:
        yield pipeline
    finally:
        await pipeline.stop()


def picture(number: int = 0, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    """Noise that is another for each number, float32 (1, H, W, 3) in [0, 1], of 8-bit values."""
    generator = torch.Generator().manual_seed(number)
    width, height = size
    return torch.randint(0, 256, (1, height, width, 3), generator=generator) / 255


def frame(tensor: torch.Tensor, number: int = 0) -> VideoFrame:
    return VideoFrame(tensor, number, Fraction(1, 30))


async def reloaded(pipeline: ComfyUI) -> None:
    """Wait until a server that was lost is back."""
    if (task := pipeline.reloading()) is not None:
        await asyncio.wait_for(task, PATIENCE_S)


async def through(pipeline: ComfyUI, tensors: list[torch.Tensor]) -> list[VideoOutput]:
    """Pictures in, as many out, as the runner does it: two tasks, and none while the pipeline is reloading."""
    await reloaded(pipeline)

    async def feed() -> None:
        for number, tensor in enumerate(tensors):
            await pipeline.put_video_frame(frame(tensor, number), "request")

    feeding = asyncio.create_task(feed())
    try:
        outputs = [await asyncio.wait_for(pipeline.get_processed_video_frame(), PATIENCE_S) for _ in tensors]
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    return outputs


def chain(*middle: dict[str, Any], first: str = "LoadTensor", last: str = "SaveTensor") -> dict[str, Any]:
    """A workflow of nodes in a row, numbered from 1; each takes the picture of the one before."""
    nodes: dict[str, Any] = {"1": {"class_type": first, "inputs": {}}}
    for number, node in enumerate(middle, 2):
        inputs = {"image": [str(number - 1), 0], **node.get("inputs", {})}
        nodes[str(number)] = {**node, "inputs": inputs}
    nodes["9"] = {"class_type": last, "inputs": {"images": [str(len(middle) + 1), 0]}}
    return nodes


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    described = {"class_type": class_type, "inputs": inputs}
    return {**described, "_meta": {"title": title}} if title else described


INVERT = chain(node("ImageInvert"))

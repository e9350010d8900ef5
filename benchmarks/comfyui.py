"""What does ComfyUI cost per picture, beside the work of its nodes: by shared memory, and by upload?

    python -m benchmarks.comfyui [--pictures 200]

Pictures go through a workflow without a model (in, invert, out) by the whole ComfyUI pipeline: prompt, queue, nodes,
messages, picture. The server is the tests' double unless `COMFYUI_FOLDER` or `COMFYUI_URL` names a real one: it has
ComfyUI's protocol and runs our real nodes in a process of its own, but its graph interpreter does less.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import percentiles, publish
from comfyui_pipeline.pipeline import ComfyUI
from runner.live.trickle import VideoFrame
from runner.live.trickle.pattern import TestPattern

SIZES = ((256, 256), (512, 512), (1280, 704))
DOUBLE = Path(__file__).parents[1] / "pipelines" / "comfyui" / "tests" / "double"
INVERT = {
    "1": {"class_type": "LoadTensor", "inputs": {}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveTensor", "inputs": {"images": ["2", 0]}},
}


async def one_by_one(pipeline: ComfyUI, pictures: list[torch.Tensor], count: int) -> list[float]:
    """The way there and back of single pictures, in ms."""
    times_ms = []
    for number in range(count):
        began = time.perf_counter()
        await pipeline.put_video_frame(VideoFrame(pictures[number % len(pictures)], number, Fraction(1, 30)), "")
        await pipeline.get_processed_video_frame()
        times_ms.append((time.perf_counter() - began) * 1000)
    return times_ms


async def flat_out(pipeline: ComfyUI, pictures: list[torch.Tensor], count: int) -> tuple[float, float]:
    """Pictures per second with as many under way as the pipeline takes, and the largest error in steps of 255."""

    async def feed() -> None:
        for number in range(count):
            await pipeline.put_video_frame(VideoFrame(pictures[number % len(pictures)], number, Fraction(1, 30)), "")

    began, error = time.perf_counter(), 0.0
    feeding = asyncio.create_task(feed())
    for number in range(count):
        output = await pipeline.get_processed_video_frame()
        if number < len(pictures):
            error = max(error, float((output.tensor - (1 - pictures[number])).abs().max()) * 255)
    await feeding
    return count / (time.perf_counter() - began), error


async def row(transport: str, size: tuple[int, int], count: int) -> dict[str, Any]:
    """One line of the table."""
    width, height = size
    pattern = TestPattern(width, height, Fraction(30))
    pictures = [torch.from_numpy(pattern.picture(number)).unsqueeze(0) / 255 for number in range(4)]
    pipeline = ComfyUI()
    await pipeline.initialize(width=width, height=height, prompt=INVERT, transport=transport, prompts_in_flight=2)
    try:
        await one_by_one(pipeline, pictures, max(5, count // 10))
        single = await one_by_one(pipeline, pictures, count)
        fps, error = await flat_out(pipeline, pictures, count)
    finally:
        await pipeline.stop()
    found = percentiles(single)
    return {
        "size": f"{width}x{height}",
        "transport": transport,
        "best ms": round(min(single), 2),
        "p50 ms": found["p50"],
        "p95 ms": found["p95"],
        "fps, 2 in flight": round(fps, 1),
        "error of 255": round(error, 2),
    }


async def main(count: int) -> None:
    """All sizes by both transports."""
    torch.set_num_threads(1)
    named = os.environ.get("COMFYUI_FOLDER") or os.environ.get("COMFYUI_URL")
    with tempfile.TemporaryDirectory() as folder:
        if not named:
            os.environ["COMFYUI_FOLDER"] = str(DOUBLE)
            os.environ["COMFYUI_ARGS"] = f"--base-directory {folder}"
        rows = [await row(transport, size, count) for size in SIZES for transport in ("shared_memory", "upload")]
    publish("comfyui", rows, server="the one that the environment names" if named else "the tests' double, not ComfyUI")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200, help="of each measurement (default: %(default)s)")
    asyncio.run(main(parser.parse_args().pictures))

"""A pipeline that is fed as the runner feeds it, in this process."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import torch

from runner.live.trickle import VideoFrame, VideoOutput
from scope_pipeline.pipeline import Scope

TIME_BASE = Fraction(1, 90000)
FRAME = 3750  # of 1/24 s
SIZE = {"width": 64, "height": 64}


class Driver:
    """One pipeline, with frames of one grey value each."""

    def __init__(self) -> None:
        self.pipeline = Scope()
        self.number = 0
        self._taken: asyncio.Queue[VideoOutput | Exception] = asyncio.Queue()
        self._taking: asyncio.Task[None] | None = None

    async def start(self, **params: Any) -> Driver:
        await self.pipeline.initialize(**{**SIZE, **params})
        self._taking = asyncio.create_task(self._take_all())  # beside what puts frames in, as the runner does
        return self

    def frame(self, level: int | None = None) -> VideoFrame:
        """The next frame; its value is its number unless it is given."""
        value = self.number if level is None else level
        frame = VideoFrame(torch.full((1, 64, 64, 3), value / 255), self.number * FRAME, TIME_BASE, {"frame_init": 1.0})
        frame.side_data.input = self.number
        self.number += 1
        return frame

    async def put(self, count: int = 1, request_id: str = "stream") -> None:
        for _ in range(count):
            await self.pipeline.put_video_frame(self.frame(), request_id)

    async def take(self, count: int) -> list[VideoOutput]:
        """The next outputs. Raises what the pipeline raised in place of one."""
        return [await self._one() for _ in range(count)]

    async def nothing_waits(self) -> bool:
        """Whether all outputs have been taken, when what is gathered has been worked on."""
        await self.pipeline.flush()
        return self._taken.empty()

    async def stop(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)
        await self.pipeline.stop()

    async def _one(self) -> VideoOutput:
        taken = await asyncio.wait_for(self._taken.get(), 60)
        if isinstance(taken, Exception):
            raise taken
        return taken

    async def _take_all(self) -> None:
        while True:
            try:
                self._taken.put_nowait(await self.pipeline.get_processed_video_frame())
            except Exception as error:
                self._taken.put_nowait(error)


def levels(outputs: list[VideoOutput]) -> list[int]:
    """Grey value of each output, 0..255."""
    return [round(float(output.tensor[0, 0, 0, 0]) * 255) for output in outputs]

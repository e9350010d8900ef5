"""Noop: frames pass unchanged; delay, jitter, batches, several outputs and failures as asked."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

from .params import NoopParams

_FIRST_INTERVAL_S = 1 / 120  # taken for that between two inputs before there were two


class NoopFailure(RuntimeError):
    """A failure that was asked for."""


class Noop(Pipeline):
    """Gives every frame back."""

    def __init__(self) -> None:
        self._outputs: asyncio.Queue[VideoOutput] = asyncio.Queue()
        self._held: list[tuple[VideoFrame, str]] = []
        self._number = 0  # of the latest input, from 1
        self._previous: int | None = None  # timestamp of the latest input
        self._interval = 0  # between the two latest inputs, in units of their time base

    async def initialize(self, **params: Any) -> None:
        """Raises NoopFailure if that is asked for."""
        self._params = NoopParams(**params)
        if self._params.fail_initialize:
            raise NoopFailure("fails to start, as fail_initialize asks for")

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        """Raises NoopFailure for every `fail_every`-th frame, which is lost."""
        self._number += 1
        self._measure(frame)
        if self._params.fail_every and self._number % self._params.fail_every == 0:
            raise NoopFailure(f"fails at frame {self._number}, as fail_every asks for")
        self._held.append((frame, request_id))
        if len(self._held) >= self._params.batch:
            await self.flush()

    async def flush(self) -> None:
        """Answer what is held, even if it is less than a batch (end of a stream)."""
        held, self._held = self._held, []
        if not held:
            return
        await asyncio.sleep((self._params.delay_ms + random.uniform(0, self._params.jitter_ms)) / 1000)
        for frame, request_id in held:
            for output in self._copies(frame):
                await self._outputs.put(VideoOutput(output, request_id))

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self._outputs.get()

    async def update_params(self, **params: Any) -> None:
        """Raises NoopFailure if that is asked for; the old params stay."""
        new = NoopParams(**params)
        if new.fail_update:
            raise NoopFailure("refuses these params, as fail_update asks for")
        self._params = new

    @classmethod
    def prepare_models(cls) -> None:
        """There are none."""

    def _measure(self, frame: VideoFrame) -> None:
        if self._previous is None:
            self._interval = int(_FIRST_INTERVAL_S / frame.time_base)
        elif frame.timestamp > self._previous:
            self._interval = frame.timestamp - self._previous
        self._previous = frame.timestamp

    def _copies(self, frame: VideoFrame) -> list[VideoFrame]:
        count = self._params.outputs_per_input
        if count == 1:
            return [frame]
        copies = [frame.replace_tensor(frame.tensor) for _ in range(count)]
        for number, copy in enumerate(copies):
            copy.timestamp += self._interval * number // count
        return copies

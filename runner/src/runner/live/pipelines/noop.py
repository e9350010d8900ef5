"""The smallest pipeline there is: every frame comes back as it went in."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..trickle.frame import VideoFrame, VideoOutput
from .interface import Pipeline


class Noop(Pipeline):
    """Passes frames through."""

    def __init__(self) -> None:
        self._outputs: asyncio.Queue[VideoOutput] = asyncio.Queue()

    async def initialize(self, **params: Any) -> None:
        logging.info("noop: ready, params %s", params)

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        await self._outputs.put(VideoOutput(frame, request_id))

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self._outputs.get()

    async def update_params(self, **params: Any) -> None:
        logging.info("noop: params %s", params)

    @classmethod
    def prepare_models(cls) -> None:
        logging.info("noop: no models to prepare")

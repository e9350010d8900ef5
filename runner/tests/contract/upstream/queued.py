"""A pipeline in the manner of Livepeer's ai-runner 0.14 with a model: reloads, side data, a warm-up, reported errors."""

import asyncio
import logging

import torch

from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

from queued_params import QueuedParams


class Queued(Pipeline):
    def __init__(self):
        super().__init__()
        self.frame_queue: asyncio.Queue[VideoOutput] = asyncio.Queue()
        self.params = None
        self.model = None

    async def initialize(self, **params):
        task = await self.update_params(**params)
        if task:
            await task
        warm_up = VideoFrame(None, 0, 0)
        warm_up.side_data.input = torch.randn(1, self.params.height, self.params.width, 3)
        warm_up.side_data.skipped = False

    async def put_video_frame(self, frame: VideoFrame, request_id: str):
        frame.side_data.input = frame.tensor
        frame.side_data.skipped = self.model is None
        out_tensor = await asyncio.to_thread(self.process_tensor_sync, frame.side_data.input)
        output = VideoOutput(frame, request_id)
        assert output.frame.side_data is frame.side_data
        await self.frame_queue.put(output.replace_tensor(out_tensor))

    def process_tensor_sync(self, tensor):
        return torch.clamp(tensor * self.params.gain + self.model, 0, 1)

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self.frame_queue.get()

    async def update_params(self, **params):
        new_params = QueuedParams(**params)
        if self.params is not None and new_params.model == self.params.model:
            self.params = new_params
            return None
        return asyncio.create_task(self._reload(new_params))

    async def _reload(self, new_params):
        if new_params.model == "missing":
            logging.error("no such model", extra={"report_error": True})
            new_params = self.params or QueuedParams()
        self.model = {"dark": -0.1, "light": 0.1}[new_params.model]
        self.params = new_params

    async def stop(self):
        self.frame_queue = asyncio.Queue()

    @classmethod
    def prepare_models(cls):
        raise NotImplementedError("models come with the image")

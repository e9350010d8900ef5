"""A pipeline in the manner of scope-runner: chunks in, more pictures out, times interpolated; no `super().__init__()`."""

import asyncio

from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

CHUNK, OUTPUTS = 2, 6


class Chunked(Pipeline):
    def __init__(self):
        self.chunk = []
        self.outputs = asyncio.Queue()

    async def initialize(self, **params):
        pass

    async def put_video_frame(self, frame: VideoFrame, request_id: str):
        self.chunk.append(frame)
        if len(self.chunk) < CHUNK:
            return
        first, last = self.chunk[0], self.chunk[-1]
        seconds = (last.timestamp - first.timestamp) * frame.time_base.numerator / frame.time_base.denominator
        step = round(seconds / (CHUNK - 1) * CHUNK / OUTPUTS / frame.time_base)
        for index in range(OUTPUTS):
            tensor = self.chunk[index * CHUNK // OUTPUTS].tensor
            timestamp = first.timestamp + index * step
            new_frame = VideoFrame(tensor, timestamp, frame.time_base, frame.log_timestamps.copy())
            new_frame.side_data = frame.side_data
            await self.outputs.put(VideoOutput(new_frame, request_id))
        self.chunk = []

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self.outputs.get()

    async def update_params(self, **params):
        pass

    @classmethod
    def prepare_models(cls):
        pass

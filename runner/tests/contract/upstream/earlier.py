"""A pipeline by the names of the earlier layout."""

from app.live.pipelines.interface import Pipeline
from app.live.trickle import VideoFrame, VideoOutput
from runner.live.trickle import VideoOutput as SameOutput

assert VideoOutput is SameOutput


class Earlier(Pipeline):
    async def initialize(self, **params):
        self.output = None
        self.waiting = __import__("asyncio").Queue()

    async def put_video_frame(self, frame: VideoFrame, request_id: str):
        await self.waiting.put(VideoOutput(frame, request_id))

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self.waiting.get()

    async def update_params(self, **params):
        pass

    @classmethod
    def prepare_models(cls):
        pass

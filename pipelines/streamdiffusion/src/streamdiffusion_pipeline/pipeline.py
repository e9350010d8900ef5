"""The pipeline: frames through a stream batch in a thread of its own, parameters changed between two frames."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

from .notices import Notices
from .params import StreamDiffusionParams

if TYPE_CHECKING:
    from .painter import Painter

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StreamDiffusion(Pipeline):
    """Paints a video anew by a prompt, frame by frame.

    Outputs come n-1 frames after their inputs, n being the length of `t_index_list`, with the timestamp of the input
    that they show. The model works in one worker thread, so that the event loop is free; a new model loads in another
    while the old one goes on.
    """

    params_class = StreamDiffusionParams

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="diffusion")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._outputs: asyncio.Queue[VideoOutput] = asyncio.Queue()
        self._inputs: deque[tuple[VideoFrame, str]] = deque()
        self._changing = asyncio.Lock()
        self._notices = Notices()
        self._painter: Painter | None = None

    async def initialize(self, **params: Any) -> None:
        self._painter = await self._load(StreamDiffusionParams(**params))

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        if self._inputs and self._inputs[-1][1] != request_id:
            # Another stream: nobody waits for the rest of the one before.
            await self._in_worker(self._serving().reset)
            self._inputs.clear()
        self._inputs.append((frame, request_id))
        tensor = frame.tensor
        self._give(await self._in_worker(lambda: self._serving().paint(tensor)))

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self._outputs.get()

    async def flush(self) -> None:
        """The end of a stream: the frames in flight come out without others after them."""
        self._give(await self._in_worker(lambda: self._serving().drain()))

    async def update_params(self, **params: Any) -> asyncio.Task[None] | None:
        """Change what can be changed between two frames, or return the task that loads the rest.

        Raises:
            ValidationError: the params are not acceptable; the old ones stay.
            Exception: what a part of the new state was not to be made by; the old one stays.
        """
        new = StreamDiffusionParams(**params)
        async with self._changing:
            painter = self._serving()
            if new == painter.params:
                return None
            if painter.can_take(new):
                self._notices.log(new)
                self._give(await self._in_worker(lambda: painter.update(new)))
                return None
        return asyncio.create_task(self._reload(new))

    async def stop(self) -> None:
        for pool in (self._worker, self._loader):
            pool.shutdown(wait=False, cancel_futures=True)
        self._painter = None

    @classmethod
    def prepare_models(cls) -> None:
        """Fetch what the parameters of ``SUBVARIANT`` and ``STREAMDIFFUSION_PARAMS`` need; see `prepare`."""
        from .prepare import prepare

        prepare()

    async def _reload(self, params: StreamDiffusionParams) -> None:
        """Load beside what serves, then take its place; on failure what serves goes on."""
        async with self._changing:
            try:
                painter = await self._load(params)
            except Exception as error:
                logger.error(
                    "new parameters were not taken, the previous ones stay in force: %s",
                    error,
                    extra={"report_error": True},
                    exc_info=logger.isEnabledFor(logging.DEBUG),
                )
                return
            self._give(await self._in_worker(lambda: self._replace(painter)))

    def _replace(self, painter: Painter) -> list[Any]:
        rest = self._serving().drain()
        self._painter = painter
        return rest

    async def _load(self, params: StreamDiffusionParams) -> Painter:
        from .painter import Painter

        self._notices.log(params)
        return await asyncio.get_running_loop().run_in_executor(self._loader, Painter.load, params)

    def _give(self, pictures: list[Any]) -> None:
        """Outputs are those of the oldest inputs that have none yet."""
        for picture in pictures:
            frame, request_id = self._inputs.popleft()
            self._outputs.put_nowait(VideoOutput(frame.replace_tensor(picture), request_id))

    def _serving(self) -> Painter:
        if self._painter is None:
            raise RuntimeError("the pipeline is not initialized, or has been stopped")
        return self._painter

    async def _in_worker(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

"""Scope: any pipeline of Daydream Scope, named by its registry id, as a live pipeline."""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import Task
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from runner.live.pipelines import BaseParams, Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

from .chunks import Chunk, Gatherer
from .folders import use_model_folders
from .form import Filled
from .loading import fill, load
from .models import check_models, fetch_models
from .params import ScopeParams, default_pipeline
from .registry import find_config
from .room import fits_beside, give_back
from .running import RunningPipeline
from .spread import spread

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_NOMINAL_FPS = 24  # of the first input, when the time to the next is not known


class Scope(Pipeline):
    """Drives one Scope pipeline in a worker thread; a change of what it was loaded with loads another beside it."""

    params_class = ScopeParams  # for who names the pipeline alone

    def __init__(self) -> None:
        self._running: RunningPipeline | None = None
        self._gatherer = Gatherer()
        self._outputs: asyncio.Queue[VideoOutput | Exception] = asyncio.Queue()
        self._given = False  # an output has been taken, and may still be on its way to the host
        self._call: Task[None] | None = None
        self._last: tuple[str, int] | None = None  # request and timestamp of the newest output
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="scope")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="scope-load")

    async def initialize(self, **params: Any) -> None:
        filled = await self._in(self._loader, partial(fill, params))
        self._running = await self._in(self._loader, partial(load, filled))

    # ---- frames ----------------------------------------------------------------------------

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        """Gather a chunk; while one is worked on the next is gathered, and then this waits."""
        if self._running is None:
            return  # memory has no room for two: one is gone and the other not there yet
        self._gatherer.add(frame, request_id)
        if len(self._gatherer) >= self._running.chunk_size:
            await self._idle()  # afterwards the size, and the pipeline, may be another
            await self._begin(self._running, self._gatherer.take)

    async def flush(self) -> None:
        """End of a stream: what waits is made up to a chunk, and only its own share of the outputs counts.

        Returns when all outputs have been taken and the next is asked for: how many there are only we know.
        """
        await self._idle()
        while len(self._gatherer) and self._running is not None:
            await self._begin(self._running, self._gatherer.rest)
            await self._idle()
        await self._outputs.join()

    async def get_processed_video_frame(self) -> VideoOutput:
        if self._given:
            self._given = False
            self._outputs.task_done()
        output = await self._outputs.get()
        self._given = True
        if isinstance(output, Exception):
            raise output
        return output

    async def _begin(self, running: RunningPipeline | None, take: Callable[[int], Chunk | None]) -> None:
        """Have the pipeline work on a chunk, if there is one."""
        chunk = take(running.chunk_size) if running is not None else None
        if running is None or chunk is None:
            return
        self._call = asyncio.create_task(self._work(running, chunk))
        if len(chunk.frames) == 1:  # nothing to gather meanwhile: the newest frame is to be the next, not an older one
            await self._idle()

    async def _idle(self) -> None:
        """Wait until no call is under way."""
        if self._call is not None:
            await asyncio.wait([self._call])

    async def _work(self, running: RunningPipeline, chunk: Chunk) -> None:
        try:
            pictures = await self._in(self._worker, partial(running.call, [frame.tensor for frame in chunk.frames]))
        except Exception as error:  # told by get_processed_video_frame, in its place among the outputs
            self._outputs.put_nowait(error)
            return
        if pictures is not None:
            self._put_out(chunk, pictures)

    def _put_out(self, chunk: Chunk, pictures: torch.Tensor) -> None:
        frames = chunk.frames[: len(chunk.frames) - chunk.padding]
        count = -(-pictures.shape[0] * len(frames) // len(chunk.frames))
        interval = chunk.interval or round(1 / (_NOMINAL_FPS * frames[0].time_base))
        after = self._last[1] if self._last is not None and self._last[0] == chunk.request_id else None
        timestamps = spread([frame.timestamp for frame in frames], interval, count, after)
        for index, timestamp in enumerate(timestamps):
            source = frames[index * len(frames) // count]
            picture = pictures[index : index + 1]
            frame = VideoFrame(picture, timestamp, source.time_base, dict(source.log_timestamps))
            frame.side_data = source.side_data
            self._outputs.put_nowait(VideoOutput(frame, chunk.request_id))
            self._last = (chunk.request_id, timestamp)

    # ---- params ----------------------------------------------------------------------------

    async def update_params(self, **params: Any) -> Task[None] | None:
        """Take params; those that a pipeline is loaded with load a new one.

        Returns:
            None, or a task that ends when the new pipeline runs, or, told as an error, the old one again.

        Raises:
            ParamsError, ScopeError: refused; nothing has changed.
        """
        running = self._running
        assert running is not None, "initialize() comes first"
        filled = await self._in(self._loader, partial(fill, params, running.filled))
        if filled.load_values == running.filled.load_values:
            await self._in(self._worker, partial(running.update, filled))
            return None
        models = use_model_folders(os.environ)
        await self._in(self._loader, partial(check_models, filled.form.pipeline, models))
        beside = await self._in(self._loader, partial(fits_beside, filled.form.pipeline, models))
        return asyncio.create_task(self._reload(running, filled, beside=beside))

    def params_in_force(self) -> BaseParams | None:
        running = self._running
        return running.filled.params.model_copy(update={"reset_cache": False}) if running is not None else None

    async def _reload(self, old: RunningPipeline, filled: Filled, *, beside: bool) -> None:
        """Load a pipeline and end the old one: afterwards, or before where memory has no room for two.

        Raises:
            ScopeError: it cannot be loaded, and the old one not again.
        """
        if not beside:
            self._running = None
            await self._close(old)
        try:
            self._running = await self._in(self._loader, partial(load, filled))
        except Exception as error:
            if not beside:
                self._running = await self._in(self._loader, partial(load, old.filled))
            logger.error("%s; the pipeline goes on as it was", error, extra={"report_error": True})
            return
        finally:
            self._gatherer.clear()
        if beside:
            await self._close(old)

    async def _close(self, old: RunningPipeline) -> None:
        await self._in(self._worker, old.close)  # after the call that is under way
        await self._in(self._worker, give_back)

    async def stop(self) -> None:
        running, self._running = self._running, None
        if self._call is not None:
            self._call.cancel()
        if running is not None:
            await self._in(self._worker, running.close)
        for executor in (self._worker, self._loader):
            executor.shutdown(wait=False, cancel_futures=True)

    @classmethod
    def prepare_models(cls) -> None:
        """Fetch the files of the pipeline that `SCOPE_PIPELINE` names, below `MODEL_DIR`; needs no GPU.

        Raises:
            ScopeError: there is no such pipeline, or its files cannot be had.
        """
        models = use_model_folders(os.environ)
        fetch_models(find_config(default_pipeline()), models)

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, call)

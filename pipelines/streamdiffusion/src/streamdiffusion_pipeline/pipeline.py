"""The pipeline: frames through a stream batch in a thread of its own, parameters changed between two frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput

from .notices import Notices
from .params import StreamDiffusionParams

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from .painter import Painter

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Ticket = tuple[VideoFrame, str]  # an input, and the request that it belongs to


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
        self._changing = asyncio.Lock()
        self._notices = Notices()
        self._painter: Painter[_Ticket] | None = None
        self._request_id: str | None = None
        self._style_source: str | None = None

    async def initialize(self, **params: Any) -> None:
        self._painter = await self._load(StreamDiffusionParams(**params))

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        if self._request_id not in (None, request_id):
            # Another stream: nobody waits for the rest of the one before.
            await self._in_worker(lambda: self._serving().reset())
        self._request_id = request_id
        tensor = frame.tensor
        self._give(await self._in_worker(lambda: self._serving().paint(tensor, (frame, request_id))))

    async def get_processed_video_frame(self) -> VideoOutput:
        return await self._outputs.get()

    async def flush(self) -> None:
        """The end of a stream: the frames in flight come out without others after them."""
        self._give(await self._in_worker(lambda: self._serving().drain()))

    async def update_params(self, **params: Any) -> asyncio.Task[None] | None:
        """Change what can be changed between two frames, or return the task that loads the rest.

        Raises:
            ValidationError: the params are not acceptable.
            ModelError: what they name is not there, as far as can be seen before it is loaded.
            ValueError: a processor or the style image is not acceptable.
            In each case the old ones stay.
        """
        new = StreamDiffusionParams(**params)
        async with self._changing:
            painter = self._serving()
            if new == painter.params:
                return None
            if painter.can_take(new):
                self._notices.log(new)
                image = await self._new_style_image(new)
                self._give(await self._in_worker(lambda: painter.update(new, image)))
                self._remember_style(new)
                return None
            await self._in_loader(lambda: _check(new))
        return asyncio.create_task(self._reload(new))

    def params_in_force(self) -> StreamDiffusionParams:
        """Those of the model that serves: after a reload that failed, the ones before."""
        return self._serving().params

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
            style_source = self._style_source
            try:
                painter = await self._load(params)
            except Exception as error:
                self._style_source = style_source
                # The runner would end the process if this task failed; what serves is as good as before.
                logger.error(
                    "new parameters were not taken, the ones before stay in force: %s",
                    error,
                    extra={"report_error": True},
                    exc_info=logger.isEnabledFor(logging.DEBUG),
                )
                return
            self._give(await self._in_worker(lambda: self._replace(painter)))

    def _replace(self, painter: Painter[_Ticket]) -> list[tuple[torch.Tensor, _Ticket]]:
        rest = self._serving().drain()
        self._painter = painter
        return rest

    async def _load(self, params: StreamDiffusionParams) -> Painter[_Ticket]:
        self._notices.log(params)
        self._style_source = None  # another model has not seen the picture
        image = await self._new_style_image(params)
        painter = await self._in_loader(lambda: _load_painter(params, image))
        # CUDA graphs belong to the thread that records them; anything else is tried out while the old model goes on.
        await (self._in_worker if params.cuda_graphs else self._in_loader)(painter.try_out)
        self._remember_style(params)
        return painter

    async def _new_style_image(self, params: StreamDiffusionParams) -> Image | None:
        """The IP-Adapter's picture, if it is needed and another one than before."""
        if not _wants_style(params) or params.ip_adapter_style_image_url == self._style_source:
            return None
        from .style_image import load_image

        return await load_image(params.ip_adapter_style_image_url)

    def _remember_style(self, params: StreamDiffusionParams) -> None:
        if _wants_style(params):
            self._style_source = params.ip_adapter_style_image_url

    def _give(self, painted: Sequence[tuple[torch.Tensor, _Ticket]]) -> None:
        for picture, (frame, request_id) in painted:
            self._outputs.put_nowait(VideoOutput(frame.replace_tensor(picture), request_id))

    def _serving(self) -> Painter[_Ticket]:
        if self._painter is None:
            raise RuntimeError("the pipeline is not initialized, or has been stopped")
        return self._painter

    async def _in_worker(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    async def _in_loader(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._loader, call)


# Imported in the loader's thread: diffusers takes seconds, in which the event loop is free.


def _load_painter(params: StreamDiffusionParams, image: Image | None) -> Painter[_Ticket]:
    from .painter import Painter

    return Painter.load(params, image)


def _check(params: StreamDiffusionParams) -> None:
    from .needs import check

    check(params)


def _wants_style(params: StreamDiffusionParams) -> bool:
    from . import ip_adapter

    return params.ip_adapter.enabled and not ip_adapter.left_out(params.ip_adapter)

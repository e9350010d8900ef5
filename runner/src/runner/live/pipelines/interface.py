"""The contract between the runner and a pipeline (Livepeer ai-runner 0.14, contract part 7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Task
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from ..trickle.frame import DEFAULT_HEIGHT, DEFAULT_WIDTH

if TYPE_CHECKING:
    from ..trickle.frame import VideoFrame, VideoOutput


class BaseParams(BaseModel):
    """Parameters common to all pipelines; subclass it for your own.

    A params class lives in a module of its own that imports neither torch nor the pipeline's
    module: the host and the HTTP server load it too. Unknown keys are ignored unless a subclass
    forbids them (``model_config = ConfigDict(extra="forbid")``).
    """

    width: int = Field(
        default=DEFAULT_WIDTH, ge=384, le=1024, multiple_of=64, description="Width of the pictures, in pixels."
    )
    height: int = Field(
        default=DEFAULT_HEIGHT, ge=384, le=1024, multiple_of=64, description="Height of the pictures, in pixels."
    )
    show_reloading_frame: bool = Field(
        default=True, description="Show a loading picture while the pipeline (re)initializes."
    )

    def get_output_resolution(self) -> tuple[int, int]:
        """(width, height) of the output; override it where that differs from the input's."""
        return (self.width, self.height)


class Pipeline(ABC):
    """A live video pipeline: frames in, frames out, params changed on the way.

    The runner makes one instance without arguments in a process of its own, awaits `initialize`,
    then calls `put_video_frame` and `get_processed_video_frame` from two tasks on one event loop.
    Several outputs per input, fewer outputs than inputs and late outputs are all legal. Let
    exceptions propagate: the runner reports them with file, line and code, and goes on.
    """

    def __init__(self) -> None:
        """Takes no arguments. Subclasses need not call it."""

    @abstractmethod
    async def initialize(self, **params: Any) -> None:
        """Load models, allocate, warm up. Called once, before any frame; may take minutes.

        Args:
            params: the stream's parameters as given (parse them with your params class).
        """

    @abstractmethod
    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        """Take one input frame.

        The next frame comes when this has returned, the sink keeps up, and few enough frames are without an output:
        4 at first, more for a pipeline that returns none until it has more. Meanwhile a newer frame replaces the one
        that waits.

        Args:
            frame: `frame.tensor` is float32, shape (1, H, W, 3), RGB, values in [0, 1], on the GPU
                where there is one. It is yours: the runner does not write to it again.
            request_id: pass it on to the `VideoOutput`.
        """

    @abstractmethod
    async def get_processed_video_frame(self) -> VideoOutput:
        """Wait for the next output and return it.

        Its tensor has the shape (1, H, W, 3) (or (H, W, 3)), any float type and device; values are
        clamped to [0, 1]. Its memory may be written again as soon as this or `put_video_frame` is called the next time
        (static buffers, ``out=``, CUDA graphs): the runner has copied it by then. Before it calls `put_video_frame`,
        it takes all outputs that this returns without waiting for a thread or a timer.
        """

    @abstractmethod
    async def update_params(self, **params: Any) -> Task[None] | None:
        """Take new parameters while running; on failure keep the previous state and raise.

        Returns:
            None when the change is in force, or a task when the pipeline must reload for it: it
            counts as loading until the task ends, and a task that fails ends the process.
        """

    def params_in_force(self) -> BaseParams | None:
        """What the pipeline really works with; None where that is just what it was given.

        Asked for after `initialize`, after `update_params`, and when a reload has ended. For a pipeline that fills
        in more than its params class knows, or that went back to what it had: the JSON schema of this object's
        class, which may be another one each time, becomes the form. Not part of Livepeer's contract; optional.
        """
        return None

    def reloading(self) -> Task[None] | None:
        """A task while the pipeline brings itself back; None when it takes frames, or is not going to.

        Asked for after a call for a frame has raised. For a pipeline that depends on something that went away and comes
        back, such as a server: it counts as loading until the task ends, and gets no frames. A task that fails ends the
        process. Not part of Livepeer's contract; optional.
        """
        return None

    async def stop(self) -> None:
        """Called once, before the process ends. Optional."""

    @classmethod
    @abstractmethod
    def prepare_models(cls) -> None:
        """Download and compile what the pipeline needs, ahead of time (image build, first set-up)."""

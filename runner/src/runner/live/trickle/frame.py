"""One frame: its pixels or samples, pts and time_base, side data and timestamps.

`VideoFrame`, `AudioFrame`, `VideoOutput` and `AudioOutput` are what pipelines see; their names and
signatures are those of Livepeer's ai-runner 0.14 (contract part 7). `RawFrame` is the same picture
outside the pipeline process: uint8 pixels, no tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np
    import torch
    from numpy.typing import NDArray

DEFAULT_WIDTH = 512
DEFAULT_HEIGHT = 512


class SideData:
    """Free attribute holder that travels with one frame inside the pipeline process.

    Attributes:
        skipped: set by pipelines that answer a frame without working on it.
        input: whatever a pipeline wants to remember of the input.
    """

    skipped: bool = True
    input: Any = None


class InputFrame:
    """What audio and video frames share.

    Attributes:
        timestamp: presentation time (pts) in units of `time_base`.
        time_base: seconds per unit, e.g. ``Fraction(1, 90000)``.
        log_timestamps: name of a boundary -> seconds since the epoch at which this frame crossed it.
        side_data: this frame's own; never shared between two inputs.
    """

    timestamp: int
    time_base: Fraction
    log_timestamps: dict[str, float]
    side_data: SideData

    @classmethod
    def from_av_video(cls, tensor: torch.Tensor, timestamp: int, time_base: Fraction) -> VideoFrame:
        """A `VideoFrame` of a decoded picture."""
        return VideoFrame(tensor, timestamp, time_base)

    @classmethod
    def from_av_audio(cls, frame: av.AudioFrame) -> AudioFrame:
        """An `AudioFrame` of decoded samples."""
        return AudioFrame(frame)


class VideoFrame(InputFrame):
    """A picture as a pipeline gets it and gives it back.

    Attributes:
        tensor: float32, shape (1, H, W, 3), RGB, values in [0, 1]; on the GPU where there is one.
    """

    tensor: torch.Tensor

    def __init__(
        self,
        tensor: torch.Tensor,
        timestamp: int,
        time_base: Fraction,
        log_timestamps: dict[str, float] | None = None,
    ) -> None:
        self.tensor = tensor
        self.timestamp = timestamp
        self.time_base = time_base
        self.log_timestamps = {} if log_timestamps is None else log_timestamps
        self.side_data = SideData()

    def replace_tensor(self, tensor: torch.Tensor) -> VideoFrame:
        """The same frame (timestamp, time base, log timestamps, side data) with another tensor."""
        frame = VideoFrame(tensor, self.timestamp, self.time_base, self.log_timestamps)
        frame.side_data = self.side_data
        return frame


class AudioFrame(InputFrame):
    """Decoded audio samples, which pass the pipeline by, in step with the video.

    Attributes:
        samples: numpy array as PyAV gives it, e.g. float32 (2, 1024) for planar stereo AAC.
        format: sample format name, e.g. ``fltp``.
        layout: channel layout name, e.g. ``stereo``.
        rate: samples per second.
        nb_samples: samples per channel in this frame.

    Raises:
        ValueError: the frame has no pts.
    """

    samples: NDArray[Any]
    format: str
    layout: str
    rate: int
    nb_samples: int

    def __init__(self, frame: av.AudioFrame) -> None:
        if frame.pts is None or frame.time_base is None:
            raise ValueError("Audio frame has no timestamp")
        self.samples = frame.to_ndarray()
        self.nb_samples = frame.samples
        self.format = frame.format.name
        self.rate = frame.sample_rate
        self.layout = frame.layout.name
        self.timestamp = frame.pts
        self.time_base = frame.time_base
        self.log_timestamps = {}
        self.side_data = SideData()


class OutputFrame:
    """What audio and video outputs share.

    Attributes:
        is_loading_frame: a picture made by the runner while the pipeline loads, not by the pipeline.
    """

    is_loading_frame: bool = False


class VideoOutput(OutputFrame):
    """A processed frame and the request (stream) that it belongs to.

    An output whose `request_id` is not the running stream's is dropped: pass on the one that
    came with `put_video_frame`.
    """

    def __init__(self, frame: VideoFrame, request_id: str = "", is_loading_frame: bool = False) -> None:
        self.frame = frame
        self.request_id = request_id
        self.is_loading_frame = is_loading_frame

    def replace_tensor(self, tensor: torch.Tensor) -> VideoOutput:
        """The same output with another tensor."""
        return VideoOutput(self.frame.replace_tensor(tensor), self.request_id, self.is_loading_frame)

    @property
    def tensor(self) -> torch.Tensor:
        return self.frame.tensor

    @property
    def timestamp(self) -> int:
        return self.frame.timestamp

    @property
    def time_base(self) -> Fraction:
        return self.frame.time_base

    @property
    def log_timestamps(self) -> dict[str, float]:
        return self.frame.log_timestamps


class AudioOutput(OutputFrame):
    """Audio frames on their way out."""

    def __init__(self, frames: list[AudioFrame], request_id: str = "") -> None:
        self.frames = frames
        self.request_id = request_id


# The boundaries a picture crosses, in order. Each stamp is `time.monotonic_ns()`, which on one
# machine all processes share, so any two stamps of a frame can be subtracted.
STAMPS = (
    "captured",    # the source has the picture, decoded and scaled
    "queued",      # written to the input ring
    "taken",       # the pipeline process has picked it up
    "uploaded",    # it is a float tensor on the pipeline's device
    "processed",   # the pipeline has given its output back
    "downloaded",  # the output is uint8 in the output ring
    "received",    # the host has it
    "delivered",   # the sink has taken it
)  # fmt: skip


def _nothing() -> None:
    """The release of a frame that owns its pixels."""


@dataclass(slots=True)
class RawFrame:
    """A picture outside the pipeline process.

    Attributes:
        pixels: uint8, shape (H, W, 3), RGB, values 0..255. May be a view of a shared-memory slot:
            valid until `release` is called.
        pts: presentation time in units of `time_base`.
        time_base: seconds per unit.
        seq: number of the picture in its stream, from 0; for an output, that of the input it came from.
        stamps: boundary (see `STAMPS`) -> `time.monotonic_ns()`.
        is_loading_frame: made by the host while the pipeline loads.
        release: gives the pixels' memory back to its owner; call it once, when done.
    """

    pixels: NDArray[np.uint8]
    pts: int
    time_base: Fraction
    seq: int = 0
    stamps: dict[str, int] = field(default_factory=dict)
    is_loading_frame: bool = False
    release: Callable[[], None] = _nothing

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)

"""NumberedFrames: an input whose pictures carry their number and can be made again at any time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from ..live.trickle.frame import RawFrame, VideoFrame

if TYPE_CHECKING:
    import torch

TIME_BASE = Fraction(1, 90_000)  # the network's
FIRST_PTS = 900_000  # streams seldom begin at 0


class NumberedFrames:
    """Test pictures by number, as the network would bring them.

    Attributes:
        interval: between two pictures, in units of `TIME_BASE`.
    """

    def __init__(self, width: int, height: int, fps: int = 30) -> None:
        from ..live.trickle.pattern import TestPattern

        self._pattern = TestPattern(width, height, Fraction(fps))
        self.interval = int(1 / (TIME_BASE * fps))

    def pts(self, number: int) -> int:
        """Presentation time of a picture, in units of `TIME_BASE`."""
        return FIRST_PTS + number * self.interval

    def raw(self, number: int) -> RawFrame:
        """A picture as it comes to the pipeline process: uint8 (H, W, 3)."""
        return RawFrame(self._pattern.picture(number), self.pts(number), TIME_BASE, number)

    def tensor(self, number: int) -> torch.Tensor:
        """A picture as a pipeline gets it: float32 (1, H, W, 3) in [0, 1], on the GPU where there is one."""
        from ..live.process.tensor import FrameConverter

        return FrameConverter().to_tensor(self._pattern.picture(number))

    def frame(self, number: int) -> VideoFrame:
        """A new frame of a picture."""
        return VideoFrame(self.tensor(number), self.pts(number), TIME_BASE)

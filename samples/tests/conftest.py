from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch

import ai_runner_samples.videos

VIDEOS = Path(ai_runner_samples.videos.__file__).parent

Clip = Callable[..., list[torch.Tensor]]


@pytest.fixture(scope="session")
def videos() -> Path:
    """The folder of the sample videos."""
    return VIDEOS


@pytest.fixture(scope="session")
def clip() -> Clip:
    """First frames of a sample as a pipeline gets them: float32 (1, H, W, 3), RGB in [0, 1]."""

    def frames(name: str, count: int, size: tuple[int, int] = (512, 512)) -> list[torch.Tensor]:
        tensors: list[torch.Tensor] = []
        with av.open(str(VIDEOS / f"{name}.mp4")) as container:
            for frame in container.decode(video=0):
                picture = frame.to_ndarray(width=size[0], height=size[1], format="rgb24")
                tensors.append(torch.from_numpy(picture).unsqueeze(0) / 255)
                if len(tensors) == count:
                    break
        return tensors

    return frames

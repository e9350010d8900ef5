from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
import torch

import ai_runner_samples.videos

VIDEOS = Path(ai_runner_samples.videos.__file__).parent

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="mediapipe is not installed (Linux on x86-64, Python < 3.13)"
)
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


@pytest.fixture(autouse=True, scope="session")
def _matplotlib_writes_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MediaPipe imports it, and it keeps a list of fonts in the user's folder."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        yield

"""Draws docs/pictures/sample-*.jpg: each sample pipeline, before and after, side by side.

python samples/make_pictures.py [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from ai_runner_samples.background_blur.params import BackgroundBlurParams
from ai_runner_samples.background_blur.pipeline import BackgroundBlur
from ai_runner_samples.cartoon.params import CartoonParams
from ai_runner_samples.cartoon.pipeline import Cartoon
from ai_runner_samples.edges.params import EdgesParams
from ai_runner_samples.edges.pipeline import Edges
from ai_runner_samples.face_privacy.params import FacePrivacyParams
from ai_runner_samples.face_privacy.pipeline import FacePrivacy
from ai_runner_samples.flow_trails.params import FlowTrailsParams
from ai_runner_samples.flow_trails.pipeline import FlowTrails
from ai_runner_samples.posterize.params import PosterizeParams
from ai_runner_samples.posterize.pipeline import posterize

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs/pictures"
SIDE_PX = 384


def ready(sample: BackgroundBlur | FacePrivacy) -> Callable[..., torch.Tensor]:
    """The transform of a sample that loads a model first."""
    sample.on_ready()
    return sample.transform


# name -> transform, params, clip, number of the frame that is shown
SHOWN: dict[str, tuple[Callable[..., torch.Tensor], Any, str, int]] = {
    "background_blur": (ready(BackgroundBlur()), BackgroundBlurParams(), "astronaut", 20),
    "cartoon": (Cartoon().transform, CartoonParams(), "bunny", 60),
    "edges": (Edges().transform, EdgesParams(), "astronaut", 60),
    "face_privacy": (ready(FacePrivacy()), FacePrivacyParams(), "astronaut", 20),
    "flow_trails": (FlowTrails().transform, FlowTrailsParams(), "shapes", 52),
    "posterize": (posterize, PosterizeParams(), "bunny", 28),
}


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or SHOWN:
        transform, params, clip, number = SHOWN[name]
        for frame in frames(clip, number + 1):
            output = transform(frame, params)
        pair = torch.cat([frame, output], dim=2)[0]
        picture = Image.fromarray((pair.numpy() * 255).round().astype(np.uint8))
        picture.resize((2 * SIDE_PX, SIDE_PX)).save(PICTURES / f"sample-{name}.jpg", quality=85, optimize=True)


def frames(clip: str, count: int) -> list[torch.Tensor]:
    """First frames of a clip, cropped to the square in the middle and scaled, as the runner does it."""
    tensors: list[torch.Tensor] = []
    with av.open(str(HERE / f"src/ai_runner_samples/videos/{clip}.mp4"), "r") as container:
        for frame in container.decode(video=0):
            picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            square = picture.resize((512, 512), box=(left, top, left + side, top + side))
            tensors.append(torch.from_numpy(np.array(square)).unsqueeze(0) / 255)
            if len(tensors) == count:
                break
    return tensors


if __name__ == "__main__":
    main()

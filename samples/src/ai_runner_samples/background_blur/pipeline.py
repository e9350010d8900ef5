"""The person stays sharp, everything else goes out of focus. MediaPipe's selfie model says which is which."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from cv2.typing import MatLike
from numpy.typing import NDArray

from ai_runner_samples.mediapipe_solution import mediapipe_solution

from .params import BackgroundBlurParams

GREEN = (0, 177, 64)  # what video editors call chroma key green
SHRINK = 4  # blurring happens at the size divided by this


class BackgroundBlur:
    model: Any
    before: NDArray[np.float32] | None = None

    def on_ready(self, _params: BackgroundBlurParams | None = None) -> None:
        self.model = mediapipe_solution("selfie_segmentation").SelfieSegmentation(model_selection=0)

    def on_stop(self) -> None:
        self.model.close()

    def transform(self, frame: torch.Tensor, params: BackgroundBlurParams) -> torch.Tensor:
        picture = cv2.convertScaleAbs(frame[0].cpu().numpy(), alpha=255)  # to uint8, rounded
        person = self.find_person(picture, params)[..., None]
        behind = background(picture, params) * np.float32(1 - params.dim)
        mixed = picture * person + behind * (1 - person)
        return torch.from_numpy(mixed.astype(np.float32)).unsqueeze(0) / 255

    def find_person(self, picture: MatLike, params: BackgroundBlurParams) -> NDArray[np.float32]:
        """(H, W), from 0 where the background is to 1 where a person is."""
        found: NDArray[np.float32] = self.model.process(picture).segmentation_mask
        if self.before is not None and self.before.shape == found.shape:
            found = found + params.steadiness * (self.before - found)
        self.before = found
        border = max(params.softness, 0.01)
        person: NDArray[np.float32] = ((found - params.certainty) / border + 0.5).clip(0, 1)
        return person


def background(picture: MatLike, params: BackgroundBlurParams) -> MatLike:
    """What is shown where nobody is, as large as `picture`."""
    if params.background == "blur":
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (width // SHRINK, height // SHRINK), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), params.blur_px / SHRINK)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if params.background == "grey":
        return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.full_like(picture, GREEN if params.background == "green" else 0)

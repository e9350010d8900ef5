"""Moving things draw light. Flow and trails live at half the size; only the mix is full size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from cv2.typing import MatLike

from .params import FlowTrailsParams

PALETTES: dict[str, tuple[float, float, float]] = {"fire": (1.0, 0.45, 0.08), "ice": (0.15, 0.6, 1.0)}
FULL_SPEED_PX = 2.5  # motion per frame that shines in full
FULL_CONTRAST = 60.0  # of a contour that shines in full, out of 255
NOISE = 6.0  # contrast that does not shine at all


class FlowTrails:
    def __init__(self) -> None:
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.previous: MatLike = np.zeros((0, 0), np.uint8)
        self.trails: MatLike = np.zeros((0, 0, 3), np.float32)

    def transform(self, frame: torch.Tensor, params: FlowTrailsParams) -> torch.Tensor:
        picture = frame[0].cpu().numpy()
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        grey = cv2.convertScaleAbs(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), alpha=255)

        if self.previous.shape != grey.shape:  # first frame, or another size
            self.previous, self.trails = grey, np.zeros_like(small)
        motion = self.flow.calc(self.previous, grey, np.zeros((*grey.shape, 2), np.float32))  # x and y, in pixels
        self.previous = grey

        if params.drift:
            self.trails = carry(self.trails, motion)
        light = shine(motion, grey, params)
        self.trails = np.maximum(self.trails * np.float32(params.persistence), light)

        trails = cv2.resize(self.trails, (width, height), interpolation=cv2.INTER_LINEAR)
        mix = cv2.addWeighted(picture, params.background, trails, 1.0, 0)
        return torch.from_numpy(mix).unsqueeze(0).clamp_(0, 1)


def carry(trails: MatLike, motion: MatLike) -> MatLike:
    """Move the light along with what moves: each place takes its light from where the motion came from."""
    height, width = motion.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(trails, x - motion[..., 0], y - motion[..., 1], cv2.INTER_LINEAR)


def shine(motion: MatLike, grey: MatLike, params: FlowTrailsParams) -> MatLike:
    """(H, W, 3) light of what moves right now, in [0, 1]: its contours, the faster the brighter."""
    speed, angle = cv2.cartToPolar(motion[..., 0], motion[..., 1], angleInDegrees=True)
    contours = np.maximum(np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3)) - NOISE, 0) / FULL_CONTRAST
    gain = params.sensitivity / FULL_SPEED_PX
    brightness = np.clip((speed - params.threshold_px) * gain * contours, 0, 1).astype(np.float32)
    if params.colours == "direction":
        colour = cv2.merge([angle, np.full_like(angle, 0.85), brightness])
        return cv2.cvtColor(colour, cv2.COLOR_HSV2RGB)
    return brightness[..., None] * np.array(PALETTES[params.colours], np.float32)

"""Comic-book look. The costly part, smoothing, happens at half the size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from cv2.typing import MatLike
from numpy.typing import NDArray

from .params import CartoonParams

INK = {"black": (16, 14, 20), "blue": (20, 40, 120), "red": (150, 20, 30), "white": (250, 250, 245)}


class Cartoon:
    def transform(self, frame: torch.Tensor, params: CartoonParams) -> torch.Tensor:
        picture = cv2.convertScaleAbs(frame[0].cpu().numpy(), alpha=255)  # to uint8, rounded
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)

        for _ in range(params.smoothing):
            small = cv2.bilateralFilter(small, 5, 40, 5)
        small = flatten(small, params.shades, params.saturation)
        paint = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

        if params.outlines:
            paint[find_lines(picture, params.line_detail)] = INK[params.ink]
        return torch.from_numpy(paint).unsqueeze(0) / 255


def flatten(picture: MatLike, shades: int, saturation: float) -> MatLike:
    """Round brightness to one of `shades` evenly spaced values, hue stays; scale the colours' strength."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    levels = np.arange(256)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = levels
    table[0, :, 1] = np.clip(levels * saturation, 0, 255)
    table[0, :, 2] = np.round(levels / 255 * (shades - 1)) * 255 / (shades - 1)
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)


def find_lines(picture: MatLike, detail: float) -> NDArray[np.bool_]:
    """(H, W) mask: darker than the neighbourhood by a margin that shrinks with `detail` (0 to 1)."""
    grey = cv2.medianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 5)
    margin = 20 - 18 * detail
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY_INV, 13, margin)
    return lines > 0

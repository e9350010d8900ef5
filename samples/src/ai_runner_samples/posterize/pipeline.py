"""The smallest pipeline: one function, a tensor in, a tensor out."""

from __future__ import annotations

import torch

from .params import PosterizeParams


def posterize(frame: torch.Tensor, params: PosterizeParams) -> torch.Tensor:
    """`frame` is float32 (1, H, W, 3), RGB in [0, 1]; so is what comes back."""
    picture = ((frame - 0.5) * params.contrast + 0.5).clamp(0, 1)
    picture = (picture * (params.shades - 1)).round() / (params.shades - 1)
    return 1 - picture if params.negative else picture

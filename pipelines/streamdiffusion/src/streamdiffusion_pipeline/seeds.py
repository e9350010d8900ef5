"""Noise from seeds: the same seeds give the same noise, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .interpolation import Method, blend

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of a stream.

    Attributes:
        latents: (n, 4, H/8, W/8), one for each step, near to the standard normal distribution.
        generator: of the first seed, on the CPU; what the encoder draws comes from it, frame by frame.
    """

    latents: torch.Tensor
    generator: torch.Generator

    @classmethod
    def build(
        cls,
        seeds: Sequence[tuple[int, float]],
        method: Method,
        shape: tuple[int, int, int, int],
        device: torch.device,
        dtype: torch.dtype,
        *,
        normalize: bool,
    ) -> Noise:
        """Noise of the given shape; several seeds are blended.

        With `normalize` the blend keeps the strength of each: a sum of independent noises would be weaker.
        """
        import torch

        generators = [torch.Generator().manual_seed(seed) for seed, _ in seeds]
        noises = [torch.randn(shape, generator=generator) for generator in generators]
        if len(noises) == 1 and normalize:
            return cls(noises[0].to(device, dtype), generators[0])
        weights = [weight for _, weight in seeds]
        # Flat, so that slerp turns the noise of a step as one vector.
        flat = blend([noise.flatten(1) for noise in noises], weights, method, normalize=normalize)
        if normalize and method == "linear":
            flat = flat * (sum(weights) / math.sqrt(sum(weight**2 for weight in weights)))
        return cls(flat.view(shape).to(device, dtype), generators[0])

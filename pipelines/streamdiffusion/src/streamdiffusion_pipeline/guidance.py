"""Guidance away from what a frame would be without its prompt, at no or little extra work of the UNet.

Residual guidance (RCFG; Kodaira et al. 2023, StreamDiffusion) takes a frame's own residual noise for the prediction
without a prompt: ``self`` from the noise that was added, ``initialize`` from one prediction with the negative prompt at
the first step. ``full`` predicts with the negative prompt at every step, ``none`` does not guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from .schedule import Schedule

Kind = Literal["none", "full", "self", "initialize"]


@dataclass(frozen=True)
class Guidance:
    """How predictions are guided.

    Attributes:
        scale: 1 or less means no guidance.
        delta: weight of the residual noise.
    """

    kind: Kind
    scale: float
    delta: float

    @property
    def active(self) -> bool:
        return self.kind != "none" and self.scale > 1.0

    @property
    def residual(self) -> bool:
        """Whether residual noise takes the place of predictions without a prompt."""
        return self.active and self.kind in ("self", "initialize")

    def negatives(self, first: int, count: int) -> int:
        """How many of the `count` rows, whose first is step `first`, are predicted with the negative prompt too."""
        if not self.active or self.kind == "self":
            return 0
        if self.kind == "full":
            return count
        return 1 if first == 0 else 0

    def apply(self, epsilon: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
        """The guided noise, away from `without`: a prediction without the prompt, or residual noise."""
        if self.kind != "full":
            without = without * self.delta
        return without + self.scale * (epsilon - without)


def next_residual(
    schedule: Schedule, rows: slice, guided: torch.Tensor, residual: torch.Tensor, next_noise: torch.Tensor
) -> torch.Tensor:
    """The residual noise of the steps after `rows`, from that of `rows`. All are (rows, 4, H/8, W/8)."""
    import torch

    one = torch.ones_like(schedule.alpha_sqrt[:1])
    alpha = torch.cat([schedule.alpha_sqrt[1:], one])[rows]
    beta = torch.cat([schedule.beta_sqrt[1:], one])[rows]
    left = schedule.denoised(guided, schedule.beta_sqrt[rows] * residual, rows)
    return next_noise + alpha * left / beta

"""Blending of tensors by weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Method = Literal["linear", "slerp"]
PARALLEL = 0.9995  # cosine from which two vectors are taken as parallel, where slerp would divide by nothing


def blend(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], method: Method, *, normalize: bool
) -> torch.Tensor:
    """Several tensors of one shape as one.

    Args:
        weights: if `normalize`, not negative and not all 0; they are scaled to a sum of 1.
        method: ``linear`` is the weighted sum. ``slerp`` turns from one to the next along the last axis, weight by
            weight, so that lengths stay; the result is then scaled by the sum of the weights.
    """
    total = sum(weights)
    if normalize:
        weights, total = [weight / total for weight in weights], 1.0
    if len(tensors) == 1:
        return tensors[0] if weights[0] == 1.0 else tensors[0] * weights[0]
    if method == "slerp" and min(weights) >= 0 and total > 0:
        result, taken = tensors[0], weights[0]
        for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
            taken += weight
            result = slerp(result, tensor, weight / taken if taken else 0.0)
        return result if total == 1.0 else result * total
    result = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        result = result + tensor * weight
    return result


def slerp(first: torch.Tensor, second: torch.Tensor, part: float) -> torch.Tensor:
    """Spherical interpolation along the last axis (Shoemake 1985): `first` at part 0, `second` at 1."""
    import torch

    a, b = first.float(), second.float()
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).unsqueeze(-1).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle).clamp_min(1e-6)
    curved = (torch.sin((1 - part) * angle) * a + torch.sin(part * angle) * b) / sine
    straight = (1 - part) * a + part * b
    return torch.where(cosine.abs() > PARALLEL, straight, curved).to(first.dtype)

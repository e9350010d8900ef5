"""Texts as what the UNet attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .interpolation import Method, blend

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a text encoder makes of a text.

    Attributes:
        tokens: (1, L, D).
        pooled: (1, P), of SDXL's second encoder; None for other models.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The blended prompts, and the negative prompt."""

    positive: Embedding
    negative: Embedding

    @classmethod
    def build(
        cls,
        diffusers_pipeline: Any,
        prompts: Sequence[tuple[str, float]],
        method: Method,
        negative_prompt: str,
        *,
        normalize: bool,
    ) -> Conditioning:
        """Encode each text once and blend. Too long ones are cut by the tokenizer, which the log tells."""
        weights = [weight for _, weight in prompts]
        encoded = [encode(diffusers_pipeline, text) for text, _ in prompts]

        def blended(tensors: list[torch.Tensor]) -> torch.Tensor:
            return blend(tensors, weights, method, normalize=normalize)

        pooled = [embedding.pooled for embedding in encoded if embedding.pooled is not None]
        positive = Embedding(
            blended([embedding.tokens for embedding in encoded]),
            blended(pooled) if pooled else None,
        )
        return cls(positive, encode(diffusers_pipeline, negative_prompt))


def encode(diffusers_pipeline: Any, text: str) -> Embedding:
    """One text through the model's text encoder(s)."""
    result = diffusers_pipeline.encode_prompt(
        prompt=text,
        device=diffusers_pipeline.text_encoder.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    return Embedding(result[0], result[2] if len(result) == 4 else None)

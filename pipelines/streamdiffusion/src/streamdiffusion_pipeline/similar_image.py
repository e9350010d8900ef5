"""Skipping of inputs that hardly differ from the one before (Kodaira et al. 2023, stochastic similarity filter)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .params import StreamDiffusionParams


class SimilarImageFilter:
    """Skips an input the more likely, the more similar it is to the last one that was not skipped.

    Chance decides, so that a scene that hardly moves is not frozen and then jumps. The chance is 0 at the threshold and
    1 for equal pictures. The draws are the same in every run.
    """

    def __init__(self, threshold: float, max_skipped: int) -> None:
        self._threshold = threshold
        self._max_skipped = max_skipped
        self._random = random.Random(0)
        self._last: torch.Tensor | None = None
        self._skipped = 0

    @classmethod
    def of(cls, params: StreamDiffusionParams) -> SimilarImageFilter | None:
        """The filter that params ask for."""
        if not params.enable_similar_image_filter:
            return None
        return cls(params.similar_image_filter_threshold, params.similar_image_filter_max_skip_frame)

    def skips(self, image: torch.Tensor) -> bool:
        """Whether this input may be left out. `image`: any shape, the same each time, values around 0."""
        if self._last is None or self._last.shape != image.shape or self._skipped >= self._max_skipped:
            return self._take(image)
        chance = self._chance(self._last, image)
        if self._random.random() > chance:
            return self._take(image)
        self._skipped += 1
        return True

    def _take(self, image: torch.Tensor) -> bool:
        self._last, self._skipped = image.clone(), 0
        return False

    def _chance(self, last: torch.Tensor, image: torch.Tensor) -> float:
        import torch

        if self._threshold >= 1:
            return -1.0  # never, also not for equal pictures
        similarity = float(torch.nn.functional.cosine_similarity(last.flatten(), image.flatten(), dim=0, eps=1e-6))
        return 1 - (1 - similarity) / (1 - self._threshold)

"""What is accepted because existing parameters have it, and has no effect here: told once each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from .params import StreamDiffusionParams

logger = logging.getLogger(__name__)


class Notices:
    """Remembers what it has told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def log(self, params: StreamDiffusionParams) -> None:
        """Tell what of these params has no effect, unless it was told before."""
        for notice in notices(params):
            if notice not in self._told:
                self._told.add(notice)
                logger.warning("%s", notice)


def notices(params: StreamDiffusionParams) -> Iterator[str]:
    """What of these params was set and has no effect, and why."""
    if "use_safety_checker" in params.model_fields_set and params.use_safety_checker:
        yield "use_safety_checker: no effect, there is no safety checker in this pipeline"
    if params.cached_attention.enabled:
        yield "cached_attention: no effect, each frame attends to itself alone here"
    for name in ("latent_preprocessing", "latent_postprocessing"):
        config = getattr(params, name)
        if config is not None and config.enabled and any(step.enabled for step in config.processors):
            yield f"{name}: no effect, latents are not processed here"

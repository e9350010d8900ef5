"""What is accepted because existing parameters have it, and has no effect here: told once each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from . import controlnet, image_processor, ip_adapter
from .family import known_family
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
    yield from _processors(params)
    for config in params.controlnets:
        reason = controlnet.left_out(config) if config.enabled else ""
        if reason:
            yield f"controlnets: {config.model_id} is left out, {reason}"
    if params.ip_adapter.enabled:
        reason = ip_adapter.left_out(params.ip_adapter)
        if reason:
            yield f"ip_adapter: left out, {reason}"
        elif ip_adapter.uniform(params.ip_adapter, known_family(params.model_id)):
            yield f"ip_adapter: weight_type '{params.ip_adapter.weight_type}' is taken for 'linear' with this model"


def _processors(params: StreamDiffusionParams) -> Iterator[str]:
    for name in ("latent_preprocessing", "latent_postprocessing"):
        config = getattr(params, name)
        if config is not None and config.enabled and any(step.enabled for step in config.processors):
            yield f"{name}: no effect, latents are not processed here"
    uses: tuple[tuple[str, image_processor.Use], ...] = (
        ("image_preprocessing", "before"),
        ("image_postprocessing", "after"),
    )
    for name, use in uses:
        config = getattr(params, name)
        for step in config.processors if config is not None and config.enabled else ():
            reason = image_processor.unavailable(step.type, use) if step.enabled else ""
            if reason:
                yield f"{name}: {step.type} is left out, {reason}"

"""All that a frame is painted by and that can change from one to the next, without loading anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .guidance import Guidance
from .prompts import Conditioning
from .schedule import Schedule
from .seeds import Noise

if TYPE_CHECKING:
    from .ip_adapter import StyleImage
    from .model import Model
    from .params import StreamDiffusionParams

_SCHEDULE = ("num_inference_steps", "t_index_list")
_NOISE = ("seed", "seed_interpolation_method", "normalize_seed_weights", "width", "height")
_PROMPTS = ("prompt", "prompt_interpolation_method", "normalize_prompt_weights", "negative_prompt")


@dataclass(frozen=True, eq=False)
class Recipe:
    """Built whole, then put into the stream in one assignment: a part that fails leaves the one before in force.

    Attributes:
        batched: all steps in one pass of the UNet, over as many frames.
        control_scales: for each ControlNet of the model, its strength at each step.
    """

    schedule: Schedule
    noise: Noise
    conditioning: Conditioning
    guidance: Guidance
    add_noise: bool
    batched: bool
    control_scales: tuple[tuple[float, ...], ...] = ()
    style: StyleImage | None = None

    @classmethod
    def build(
        cls,
        model: Model,
        params: StreamDiffusionParams,
        style: StyleImage | None = None,
        *,
        before: Recipe | None = None,
        before_params: StreamDiffusionParams | None = None,
    ) -> Recipe:
        """The recipe for `params`; what does not differ from `before_params` is taken over from `before`.

        Raises:
            ValueError: the model's scheduler is of a kind that cannot be used.
        """

        def same(names: tuple[str, ...]) -> bool:
            return before_params is not None and all(getattr(params, n) == getattr(before_params, n) for n in names)

        if before is not None and same(_SCHEDULE):
            schedule = before.schedule
        else:
            steps, indices = params.num_inference_steps, params.t_index_list
            schedule = Schedule.build(model.scheduler_config, steps, indices, model.device, model.dtype)
        if before is not None and same(_NOISE) and len(before.schedule) == len(schedule):
            noise = before.noise
        else:
            noise = Noise.build(
                params.seeds(),
                params.seed_interpolation_method,
                (len(schedule), *model.latent_shape(params.width, params.height)),
                model.device,
                model.dtype,
                normalize=params.normalize_seed_weights,
            )
        if before is not None and same(_PROMPTS):
            conditioning = before.conditioning
        else:
            conditioning = Conditioning.build(
                model.pipeline,
                params.prompts(),
                params.prompt_interpolation_method,
                params.negative_prompt,
                normalize=params.normalize_prompt_weights,
            )
        return cls(
            schedule=schedule,
            noise=noise,
            conditioning=conditioning,
            guidance=Guidance(params.cfg_type, params.guidance_scale, params.delta),
            add_noise=params.do_add_noise,
            batched=params.use_denoising_batch,
            control_scales=tuple(control.scales(params.controlnets, schedule.parts) for control in model.controlnets),
            style=style,
        )

    @property
    def latency(self) -> int:
        """How many frames come in before the first comes out."""
        return len(self.schedule) - 1 if self.batched else 0

    def same_shape(self, other: Recipe) -> bool:
        """Whether frames that are half done by this recipe can go on by the other."""
        return (
            self.batched == other.batched
            and len(self.schedule) == len(other.schedule)
            and self.noise.latents.shape == other.noise.latents.shape
        )

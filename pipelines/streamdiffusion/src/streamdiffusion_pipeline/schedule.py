"""Which noise levels a frame goes through, and the factors of each: an LCM schedule, seen through `t_index_list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LCM_STEPS = 50  # length of the schedule that consistency models are distilled on
PREDICTION_TYPES = ("epsilon", "v_prediction")


@dataclass(frozen=True, eq=False)
class Schedule:
    """The n steps of `t_index_list`. All factors have the shape (n, 1, 1, 1).

    A noised latent is ``alpha_sqrt * x + beta_sqrt * noise``. Consistency models (Luo et al. 2023, Latent Consistency
    Models) map a prediction of x back by ``c_out * x + c_skip * noised``.

    Attributes:
        timesteps: int64, (n,), of the model's training schedule, falling.
        parts: where in the whole schedule each step is, in [0, 1).
        prediction_type: what the UNet gives: ``epsilon`` (the noise) or ``v_prediction``.
    """

    timesteps: torch.Tensor
    alpha_sqrt: torch.Tensor
    beta_sqrt: torch.Tensor
    c_skip: torch.Tensor
    c_out: torch.Tensor
    parts: tuple[float, ...]
    prediction_type: str

    @classmethod
    def build(
        cls,
        scheduler_config: Mapping[str, Any],
        num_inference_steps: int,
        t_index_list: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Schedule:
        """The schedule of a model.

        Raises:
            ValueError: the model predicts something that is neither noise nor v.
        """
        import torch
        from diffusers import LCMScheduler

        scheduler = LCMScheduler.from_config(scheduler_config)
        prediction_type = scheduler.config.prediction_type
        if prediction_type not in PREDICTION_TYPES:
            raise ValueError(
                f"the model predicts '{prediction_type}'; this pipeline can use {' and '.join(PREDICTION_TYPES)}"
            )
        scheduler.set_timesteps(num_inference_steps, original_inference_steps=max(LCM_STEPS, num_inference_steps))
        steps = [scheduler.timesteps[index] for index in t_index_list]
        scalings = [scheduler.get_scalings_for_boundary_condition_discrete(step) for step in steps]
        alphas = [scheduler.alphas_cumprod[step] for step in steps]

        def factors(values: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack(values).view(-1, 1, 1, 1).to(device, dtype)

        return cls(
            timesteps=torch.stack(steps).to(device, torch.long),
            alpha_sqrt=factors([alpha.sqrt() for alpha in alphas]),
            beta_sqrt=factors([(1 - alpha).sqrt() for alpha in alphas]),
            c_skip=factors([skip for skip, _ in scalings]),
            c_out=factors([out for _, out in scalings]),
            parts=tuple(index / num_inference_steps for index in t_index_list),
            prediction_type=prediction_type,
        )

    def __len__(self) -> int:
        return len(self.parts)

    def epsilon(self, prediction: torch.Tensor, noised: torch.Tensor, rows: slice) -> torch.Tensor:
        """The noise that a prediction says is in `noised` (Salimans and Ho 2022 for v)."""
        if self.prediction_type == "epsilon":
            return prediction
        return self.alpha_sqrt[rows] * prediction + self.beta_sqrt[rows] * noised

    def denoised(self, epsilon: torch.Tensor, noised: torch.Tensor, rows: slice) -> torch.Tensor:
        """The latents that are left when the noise is taken out."""
        x = (noised - self.beta_sqrt[rows] * epsilon) / self.alpha_sqrt[rows]
        return self.c_out[rows] * x + self.c_skip[rows] * noised

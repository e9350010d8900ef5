"""The stream batch: n frames at n noise levels go through the UNet in one pass.

With the steps t_1 ... t_n each frame enters at t_1, is at t_2 when the next one enters, and leaves n-1 frames later.
So the UNet is called once for each frame whatever n is, at the price of a latency of exactly n-1 frames
(Kodaira et al. 2023, StreamDiffusion).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .controlnet import Control
from .guidance import next_residual
from .recipe import Recipe

if TYPE_CHECKING:
    import torch

    from .model import Model


class Stream:
    """Frames of one video through one model. Not for two threads at once.

    Attributes:
        recipe: what frames are painted by.
        in_flight: how many frames have gone in and have not come out.
    """

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.recipe = recipe
        self.in_flight = 0
        self._model = model
        self._control: Control
        self._shown: torch.Tensor | None = None
        self._empty()

    def update(self, recipe: Recipe) -> None:
        """Paint by another recipe from the next frame on.

        One of another shape drops the frames that are in flight: `drain` before that.
        """
        same_shape = self.recipe.same_shape(recipe)
        self.recipe = recipe
        if not same_shape:
            self.reset()

    def reset(self) -> None:
        """Forget the frames in flight."""
        self.in_flight = 0
        self._shown = None
        self._empty()

    def put(self, image: torch.Tensor) -> torch.Tensor | None:
        """Take one frame in; the one that comes out, None while the first n-1 are on their way.

        Args:
            image: (1, 3, H, W), in [0, 1], on the model's device.

        Returns:
            The same.
        """
        import torch

        with torch.inference_mode():
            self._control.put(image, self._shown, self.recipe.control_scales)
            latents = self._noised(self._model.encode(image * 2 - 1, self.recipe.noise.generator))
            denoised = self._batch(latents) if self._is_batch else self._one_by_one(latents)
            if self.in_flight < self.recipe.latency:
                self.in_flight += 1
                return None
            self._shown = self._picture(denoised)
            return self._shown

    def drain(self) -> Iterator[torch.Tensor]:
        """The frames in flight, oldest first, with nothing coming after them. The stream is as new then."""
        import torch

        with torch.inference_mode():
            nothing = torch.zeros_like(self.recipe.noise.latents[:1])
            if self.in_flight:
                for _ in range(self.recipe.latency - self.in_flight):  # fewer came in than fill the batch
                    self._control.nothing()
                    self._batch(nothing)
            while self.in_flight:
                self.in_flight -= 1
                self._control.nothing()
                yield self._picture(self._batch(nothing))
        self.reset()

    @property
    def _is_batch(self) -> bool:
        return self.recipe.batched or len(self.recipe.schedule) == 1

    def _empty(self) -> None:
        import torch

        latents = self.recipe.noise.latents
        self._control = Control(self._model.controlnets, len(latents))
        self._buffer = torch.zeros_like(latents[1:])
        self._residual = torch.zeros_like(latents)

    def _noised(self, latents: torch.Tensor) -> torch.Tensor:
        schedule, noise = self.recipe.schedule, self.recipe.noise.latents
        return schedule.alpha_sqrt[0] * latents + schedule.beta_sqrt[0] * noise[:1]

    def _renoised(self, denoised: torch.Tensor, rows: slice) -> torch.Tensor:
        """Denoised latents at the noise levels of `rows`."""
        schedule, noise = self.recipe.schedule, self.recipe.noise.latents
        if not self.recipe.add_noise:
            return schedule.alpha_sqrt[rows] * denoised
        return schedule.alpha_sqrt[rows] * denoised + schedule.beta_sqrt[rows] * noise[rows]

    def _picture(self, latents: torch.Tensor) -> torch.Tensor:
        # A copy: with CUDA graphs the next pass writes over what this one gave.
        return (self._model.decode(latents) / 2 + 0.5).clamp(0, 1).float().clone()

    # ---- denoising -------------------------------------------------------------------------

    def _batch(self, latents: torch.Tensor) -> torch.Tensor:
        """One frame in at the first step, all others one step on; the latents of the last, (1, 4, H/8, W/8)."""
        import torch

        schedule, noise = self.recipe.schedule, self.recipe.noise.latents
        rows = slice(0, len(schedule))
        if len(schedule) > 1:
            latents = torch.cat([latents, self._buffer])
            self._residual = torch.cat([noise[:1], self._residual[:-1]])
        epsilon, residual = self._predict(latents, rows, self._residual)
        denoised = schedule.denoised(epsilon, latents, rows)
        if self.recipe.guidance.residual:
            residual = next_residual(schedule, rows, epsilon, residual, torch.cat([noise[1:], noise[:1]]))
        self._residual = residual
        self._buffer = self._renoised(denoised[:-1], slice(1, None))
        return denoised[-1:]

    def _one_by_one(self, latents: torch.Tensor) -> torch.Tensor:
        """One frame through all steps: what the batch gives n-1 frames later."""
        schedule, noise = self.recipe.schedule, self.recipe.noise.latents
        residual = noise[:1]
        denoised = latents
        for step in range(len(schedule)):
            rows, after = slice(step, step + 1), slice(step + 1, step + 2)
            epsilon, residual = self._predict(latents, rows, residual)
            denoised = schedule.denoised(epsilon, latents, rows)
            if step + 1 < len(schedule):
                latents = self._renoised(denoised, after)
                if self.recipe.guidance.residual:
                    residual = next_residual(schedule, rows, epsilon, residual, noise[after])
        return denoised

    def _predict(self, latents: torch.Tensor, rows: slice, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The guided noise in latents that are at the steps `rows`, and the residual noise that it was guided by."""
        import torch

        schedule, guidance = self.recipe.schedule, self.recipe.guidance
        negatives = guidance.negatives(rows.start, len(latents))
        timesteps = schedule.timesteps[rows]
        prediction = self._unet(
            torch.cat([latents[:negatives], latents]), torch.cat([timesteps[:negatives], timesteps]), rows, negatives
        )
        epsilon = schedule.epsilon(prediction[negatives:], latents, rows)
        if not guidance.active:
            return epsilon, residual
        if negatives:
            negative_rows = slice(rows.start, rows.start + negatives)
            negative = schedule.epsilon(prediction[:negatives], latents[:negatives], negative_rows)
            if guidance.kind == "full":
                return guidance.apply(epsilon, negative), residual
            residual = torch.cat([negative, residual[1:]])
        return guidance.apply(epsilon, residual), residual

    def _unet(self, latents: torch.Tensor, timesteps: torch.Tensor, rows: slice, negatives: int) -> torch.Tensor:
        """The UNet's prediction; the first `negatives` rows see the negative prompt."""
        import torch

        conditioning = self.recipe.conditioning
        positives = len(latents) - negatives

        def stacked(negative: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
            repeats = [1] * (positive.ndim - 1)
            parts = [negative.repeat(negatives, *repeats)] if negatives else []
            return torch.cat([*parts, positive.repeat(positives, *repeats)])

        tokens = stacked(conditioning.negative.tokens, conditioning.positive.tokens)
        added: dict[str, Any] = {}
        if conditioning.positive.pooled is not None and conditioning.negative.pooled is not None:
            added["text_embeds"] = stacked(conditioning.negative.pooled, conditioning.positive.pooled)
            added["time_ids"] = self._model.time_ids(latents)
        steps = [*range(rows.start, rows.start + negatives), *range(rows.start, rows.start + positives)]
        controls = self._control.residuals(
            latents, timesteps, tokens, added or None, steps, self.recipe.control_scales, batched=self._is_batch
        )
        style = self.recipe.style
        if style is not None:
            added = {**added, "image_embeds": [stacked(torch.zeros_like(style.embedding), style.embedding)]}
        prediction: torch.Tensor = self._model.unet(
            latents,
            timesteps,
            encoder_hidden_states=tokens,
            added_cond_kwargs=added or None,
            return_dict=False,
            **controls,
        )[0]
        return prediction

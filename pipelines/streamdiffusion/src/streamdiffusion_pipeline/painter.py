"""One loaded model, its stream, and the parameters that both were made from. Runs in one worker thread."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .model import Model
from .params import StreamDiffusionParams
from .recipe import Recipe
from .seeds import Noise
from .similar_image import SimilarImageFilter
from .stream import Stream

if TYPE_CHECKING:
    import torch

# What changes between two frames; a change of anything else loads again.
LIVE = frozenset(
    {
        "prompt",
        "prompt_interpolation_method",
        "normalize_prompt_weights",
        "negative_prompt",
        "guidance_scale",
        "cfg_type",
        "delta",
        "num_inference_steps",
        "t_index_list",
        "seed",
        "seed_interpolation_method",
        "normalize_seed_weights",
        "do_add_noise",
        "use_denoising_batch",
        "skip_diffusion",
        "enable_similar_image_filter",
        "similar_image_filter_threshold",
        "similar_image_filter_max_skip_frame",
        "show_reloading_frame",
        # Without effect, whatever they are.
        "use_safety_checker",
        "safety_checker_threshold",
        "cached_attention",
        "latent_preprocessing",
        "latent_postprocessing",
    }
)


class Painter:
    """Pictures out of pictures.

    Attributes:
        params: those in force.
    """

    def __init__(self, params: StreamDiffusionParams, model: Model, recipe: Recipe) -> None:
        self.params = params
        self._model = model
        self._stream = Stream(model, recipe)
        self._filter = SimilarImageFilter.of(params)
        self._shown: torch.Tensor | None = None

    @classmethod
    def load(cls, params: StreamDiffusionParams) -> Painter:
        """Load what `params` name, and paint one picture to see that it works.

        Raises:
            ModelError: something cannot be used, or is not there.
        """
        import torch

        with torch.inference_mode():
            model = Model.load(params)
            recipe = Recipe.build(model, params)
            # With a generator of its own: the first real frame is to draw the first numbers of the seed.
            trial = replace(recipe, noise=Noise(recipe.noise.latents, torch.Generator()))
            Stream(model, trial).put(torch.zeros(1, 3, params.height, params.width, device=model.device))
        return cls(params, model, recipe)

    def can_take(self, params: StreamDiffusionParams) -> bool:
        """Whether `params` differ only in what changes between two frames."""
        old, new = self.params.model_dump(), params.model_dump()
        return all(old[name] == new[name] for name in old if name not in LIVE)

    def update(self, params: StreamDiffusionParams) -> list[torch.Tensor]:
        """Take new parameters, all or none.

        Returns:
            Pictures that were in flight, where they could not go on by the new parameters.
        """
        import torch

        with torch.inference_mode():
            recipe = Recipe.build(self._model, params, before=self._stream.recipe, before_params=self.params)
        rest: list[torch.Tensor] = []
        if not self._stream.recipe.same_shape(recipe) or params.skip_diffusion != self.params.skip_diffusion:
            rest = self.drain()
        self._stream.update(recipe)
        if params.enable_similar_image_filter != self.params.enable_similar_image_filter or self._filter is not None:
            self._filter = SimilarImageFilter.of(params)
        self.params = params
        return rest

    def paint(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """One input, (1, H, W, 3) in [0, 1]; the pictures, of the same shape, that are ready: none or one."""
        import torch

        with torch.inference_mode():
            image = self._fitted(tensor)
            if self.params.skip_diffusion:
                return [_channels_last(image)]
            if self._shown is not None and self._filter is not None and self._filter.skips(image * 2 - 1):
                return [self._shown]
            picture = self._stream.put(image)
            if picture is None:
                return []
            self._shown = _channels_last(picture)
            return [self._shown]

    def drain(self) -> list[torch.Tensor]:
        """The pictures in flight."""
        pictures = [_channels_last(picture) for picture in self._stream.drain()]
        self._shown = None
        return pictures

    def reset(self) -> None:
        """Forget what is in flight: another video begins."""
        self._stream.reset()
        self._shown = None

    def _fitted(self, tensor: torch.Tensor) -> torch.Tensor:
        """(1, 3, height, width) on the model's device; frames of another size are scaled."""
        import torch

        image = tensor.to(self._model.device).permute(0, 3, 1, 2)
        size = (self.params.height, self.params.width)
        if tuple(image.shape[-2:]) == size:
            return image.contiguous()
        scaled = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        return scaled.clamp(0, 1)


def _channels_last(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 2, 3, 1).contiguous()

"""One loaded model, its stream, and the parameters that both were made from. Runs in one worker thread."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from . import ip_adapter
from .image_processor import process, steps
from .model import Model
from .params import ControlNetConfig, StreamDiffusionParams
from .recipe import Recipe
from .seeds import Noise
from .similar_image import SimilarImageFilter
from .stream import Stream

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Ticket = TypeVar("Ticket")

# What a change of needs another model, or other pictures. All else changes between two frames.
RELOADED = (
    "model_id",
    "width",
    "height",
    "lora_dict",
    "use_lcm_lora",
    "lcm_lora_id",
    "acceleration",
    "torch_compile",
    "cuda_graphs",
    "channels_last",
    "dtype",
    "use_tiny_vae",
    "vae_id",
)
_FILTER = ("enable_similar_image_filter", "similar_image_filter_threshold", "similar_image_filter_max_skip_frame")


class Painter(Generic[Ticket]):
    """Pictures out of pictures. A ticket goes in with each, and comes out with the picture that shows it.

    Attributes:
        params: those in force.
    """

    def __init__(self, params: StreamDiffusionParams, model: Model, recipe: Recipe) -> None:
        self.params = params
        self._model = model
        self._stream = Stream(model, recipe)
        self._filter = SimilarImageFilter.of(params)
        self._before = steps(params.image_preprocessing, "before")
        self._after = steps(params.image_postprocessing, "after")
        self._shown: torch.Tensor | None = None
        self._tickets: deque[Ticket] = deque()

    @classmethod
    def load(cls, params: StreamDiffusionParams, style_image: Image | None = None) -> Painter[Ticket]:
        """Load what `params` name; `try_out` then shows whether it works.

        Args:
            style_image: of the IP-Adapter, needed where that is enabled.

        Raises:
            ModelError: something cannot be used, or is not there.
        """
        import torch

        with torch.inference_mode(False), torch.no_grad():
            model = Model.load(params)
        with torch.inference_mode():
            style = ip_adapter.embed(model.pipeline, style_image) if model.has_ip_adapter and style_image else None
            if model.has_ip_adapter:
                ip_adapter.set_scale(model.pipeline, params.ip_adapter, model.family)
            recipe = Recipe.build(model, params, style)
            return cls(params, model, recipe)

    def try_out(self) -> None:
        """Paint one picture, and leave no trace of it. Compiles, where that is asked for.

        Raises:
            ValueError: a processor's params are out of range.
        """
        import torch

        recipe = self._stream.recipe
        # With a generator of its own: the first real frame is to draw the first numbers of the seed.
        trial = replace(recipe, noise=Noise(recipe.noise.latents, torch.Generator()))
        with torch.inference_mode():
            Stream(self._model, trial).put(self._try_processors(self.params))

    def _try_processors(self, params: StreamDiffusionParams) -> torch.Tensor:
        """A black picture through the processors, so that they refuse their params before these are in force."""
        import torch

        black = torch.zeros(1, 3, params.height, params.width, device=self._model.device)
        process(black, None, steps(params.image_postprocessing, "after"))
        return process(black, None, steps(params.image_preprocessing, "before"))

    def can_take(self, params: StreamDiffusionParams) -> bool:
        """Whether what is loaded is what `params` need."""
        if any(getattr(self.params, name) != getattr(params, name) for name in RELOADED):
            return False
        nets = [[_loaded(config) for config in each.controlnets] for each in (self.params, params)]
        if nets[0] != nets[1]:
            return False
        old, new = self.params.ip_adapter, params.ip_adapter
        if new.enabled and not ip_adapter.left_out(new) and not self._model.has_ip_adapter:
            return False
        live = {"enabled", "scale", "weight_type"}
        return old.model_dump(exclude=live) == new.model_dump(exclude=live)

    def update(self, params: StreamDiffusionParams, style_image: Image | None) -> list[tuple[torch.Tensor, Ticket]]:
        """Take new parameters, all or none.

        Args:
            style_image: another one; None: the one before stays.

        Returns:
            Pictures that were in flight, where they could not go on by the new parameters.
        """
        import torch

        before = self._stream.recipe
        with torch.inference_mode():
            style = before.style
            if style_image is not None and self._model.has_ip_adapter:
                style = ip_adapter.embed(self._model.pipeline, style_image)
            recipe = Recipe.build(self._model, params, style, before=before, before_params=self.params)
            self._try_processors(params)
        rest: list[tuple[torch.Tensor, Ticket]] = []
        if not before.same_shape(recipe) or params.skip_diffusion != self.params.skip_diffusion:
            rest = self.drain()
        if self._model.has_ip_adapter and params.ip_adapter != self.params.ip_adapter:
            ip_adapter.set_scale(self._model.pipeline, params.ip_adapter, self._model.family)
        if any(getattr(params, name) != getattr(self.params, name) for name in _FILTER):
            self._filter = SimilarImageFilter.of(params)
        self._before = steps(params.image_preprocessing, "before")
        self._after = steps(params.image_postprocessing, "after")
        self._stream.update(recipe)
        self.params = params
        return rest

    def paint(self, tensor: torch.Tensor, ticket: Ticket) -> list[tuple[torch.Tensor, Ticket]]:
        """One input, (1, H, W, 3) in [0, 1]; the picture, of the same shape, that is ready, if one is.

        What fails forgets the frames in flight, so that later pictures do not get their tickets.
        """
        import torch

        self._tickets.append(ticket)
        try:
            with torch.inference_mode():
                picture = self._paint(tensor)
        except BaseException:
            self.reset()
            raise
        return [] if picture is None else [(picture, self._tickets.popleft())]

    def _paint(self, tensor: torch.Tensor) -> torch.Tensor | None:
        image = process(self._fitted(tensor), self._shown_image(), self._before)
        if self.params.skip_diffusion:
            return self._show(image)
        if self._shown is not None and self._filter is not None and self._filter.skips(image * 2 - 1):
            return self._shown.clone()
        picture = self._stream.put(image)
        return None if picture is None else self._show(picture)

    def drain(self) -> list[tuple[torch.Tensor, Ticket]]:
        """The pictures in flight."""
        import torch

        with torch.inference_mode():
            pictures = [self._show(picture) for picture in self._stream.drain()]
        tickets = list(self._tickets)
        self.reset()
        return list(zip(pictures, tickets, strict=True))

    def reset(self) -> None:
        """Forget what is in flight: another video begins."""
        self._stream.reset()
        self._tickets.clear()
        self._shown = None

    def _show(self, picture: torch.Tensor) -> torch.Tensor:
        picture = process(picture, self._shown_image(), self._after)
        self._shown = picture.permute(0, 2, 3, 1).contiguous()
        return self._shown.clone()

    def _shown_image(self) -> torch.Tensor | None:
        return None if self._shown is None else self._shown.permute(0, 3, 1, 2)

    def _fitted(self, tensor: torch.Tensor) -> torch.Tensor:
        """(1, 3, height, width) on the model's device; frames of another size are scaled."""
        import torch

        image = tensor.to(self._model.device, torch.float32).permute(0, 3, 1, 2)
        size = (self.params.height, self.params.width)
        if tuple(image.shape[-2:]) == size:
            return image.contiguous()
        return torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def _loaded(config: ControlNetConfig) -> dict[str, object]:
    """What of a ControlNet is fixed once it is loaded."""
    return config.model_dump(exclude={"conditioning_scale"})

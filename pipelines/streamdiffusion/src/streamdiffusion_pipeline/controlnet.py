"""ControlNets (Zhang et al. 2023): a second network that looks at a control picture and steers the UNet."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .image_processor import PROCESSORS, Processor, unavailable
from .repository import Repository, weights_variant

if TYPE_CHECKING:
    import torch

    from .params import ControlNetConfig

    # (control picture or None for one that is not needed), for each ControlNet
    Pictures = Sequence["torch.Tensor | None"]


@dataclass(frozen=True, eq=False)
class ControlNet:
    """One loaded ControlNet."""

    config: ControlNetConfig
    network: Any
    processor: Processor

    @classmethod
    def load(cls, config: ControlNetConfig, device: torch.device, dtype: torch.dtype, *, half: bool) -> ControlNet:
        """Raises ModelError: it is not there, or is no ControlNet of diffusers."""
        from diffusers import ControlNetModel

        folder = repository(config, half=half).folder()
        try:
            network = ControlNetModel.from_pretrained(
                folder, dtype=dtype, variant=weights_variant(folder), local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"ControlNet '{config.model_id}' could not be loaded: {error}") from error
        return cls(config, network.to(device), PROCESSORS["control"][config.preprocessor])

    def picture(self, image: torch.Tensor, shown: torch.Tensor | None) -> torch.Tensor:
        """The control picture of an input."""
        dtype: torch.dtype = self.network.dtype
        return self.processor(image, shown, self.config.preprocessor_params).to(dtype)

    def scales(self, configs: Sequence[ControlNetConfig], parts: Sequence[float]) -> tuple[float, ...]:
        """Its strength at each step, by the params in force; `parts`: where in the schedule the steps are."""
        config = next(config for config in configs if config.model_id == self.config.model_id)
        start, end = config.control_guidance_start, config.control_guidance_end
        return tuple(config.conditioning_scale if start <= part <= end else 0.0 for part in parts)


def left_out(config: ControlNetConfig) -> str:
    """Why a ControlNet that is enabled is not used; "" if it is."""
    reason = unavailable(config.preprocessor, "control")
    if reason:
        return f"its preprocessor {reason}"
    if "TemporalNet" in config.model_id or config.conditioning_channels not in (None, 3):
        return "control pictures have 3 channels here"
    return ""


def usable(configs: Sequence[ControlNetConfig]) -> list[ControlNetConfig]:
    """Those that are loaded."""
    return [config for config in configs if config.enabled and not left_out(config)]


def repository(config: ControlNetConfig, *, half: bool) -> Repository:
    """Where a ControlNet comes from."""
    return Repository(config.model_id, half=half)


class Control:
    """The control pictures of the frames in a stream: each frame keeps its own through all its steps."""

    def __init__(self, controlnets: Sequence[ControlNet], frames: int) -> None:
        """`frames`: how many are in flight at once."""
        self._controlnets = controlnets
        self._pictures: deque[Pictures] = deque(maxlen=frames)

    def put(self, image: torch.Tensor, shown: torch.Tensor | None, scales: Sequence[Sequence[float]]) -> None:
        """One more frame; ControlNets without influence need no picture."""
        pairs = zip(self._controlnets, scales, strict=True)
        self._pictures.appendleft([net.picture(image, shown) if any(steps) else None for net, steps in pairs])

    def nothing(self) -> None:
        """All frames are one step on, and none comes after them."""
        if self._pictures:
            self._pictures.appendleft(self._pictures[0])

    def residuals(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        tokens: torch.Tensor,
        added: dict[str, Any] | None,
        steps: Sequence[int],
        scales: Sequence[Sequence[float]],
        *,
        batched: bool,
    ) -> dict[str, Any]:
        """What the UNet takes to be steered by: sums over all ControlNets, row by row at each one's strength.

        Args:
            latents, timesteps, tokens, added: as the UNet gets them, one row for each of `steps`.
            batched: the frame at step i came i frames ago; else all rows are the newest frame's.
        """
        import torch

        total: list[torch.Tensor] = []
        for number, (controlnet, strengths) in enumerate(zip(self._controlnets, scales, strict=True)):
            if not any(strengths[step] for step in steps):
                continue
            down, middle = controlnet.network(
                latents,
                timesteps,
                encoder_hidden_states=tokens,
                controlnet_cond=torch.cat([self._picture(number, step if batched else 0) for step in steps]),
                added_cond_kwargs=added,
                return_dict=False,
            )
            row = torch.tensor([strengths[step] for step in steps], device=latents.device, dtype=latents.dtype)
            scaled = [part * row.view(-1, 1, 1, 1) for part in (*down, middle)]
            total = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
        if not total:
            return {}
        return {"down_block_additional_residuals": total[:-1], "mid_block_additional_residual": total[-1]}

    def _picture(self, number: int, age: int) -> torch.Tensor:
        """The picture for one ControlNet of the frame that came `age` frames ago; the oldest one that there is."""
        made = [pictures[number] for pictures in self._pictures if pictures[number] is not None]
        picture = made[min(age, len(made) - 1)]
        assert picture is not None
        return picture

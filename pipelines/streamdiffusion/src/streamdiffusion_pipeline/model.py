"""A loaded model: UNet, autoencoder, text encoders and add-ons, on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ip_adapter, lora
from .acceleration import Acceleration
from .controlnet import ControlNet, usable
from .errors import ModelError
from .family import FAMILY_BY_ATTENTION_WIDTH, TINY_VAES, Family, known_family
from .repository import Repository, weights_variant

if TYPE_CHECKING:
    import torch

    from .params import StreamDiffusionParams

PIPELINE_CLASSES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
)


@dataclass(eq=False)
class Model:
    """What was loaded for one set of params.

    Attributes:
        pipeline: the diffusers pipeline that holds the parts together; only its parts are used.
        unet, vae: those of the pipeline, possibly compiled.
        device, dtype: of the UNet; the autoencoder may need float32 where the UNet does not.
        family: by its name, else by the width of its attention; None for widths of no known family.
        controlnets: those that are enabled and can be used here.
        has_ip_adapter: whether the UNet needs a style image.
    """

    pipeline: Any
    unet: Any
    vae: Any
    device: torch.device
    dtype: torch.dtype
    family: Family | None
    controlnets: tuple[ControlNet, ...] = ()
    has_ip_adapter: bool = False

    @classmethod
    def load(cls, params: StreamDiffusionParams) -> Model:
        """Load everything that `params` name, from the disk, and from the hub what is not there.

        Raises:
            ModelError: what is named is not there, not complete, or of a kind that cannot be used.
        """
        _quiet()
        acceleration = Acceleration.plan(params)
        acceleration.log()
        folder = model_repository(params, half=acceleration.half).folder()
        index = model_index(folder)
        try:
            pipeline = _load_pipeline(params, acceleration, folder, index)
        except (OSError, ValueError) as error:
            raise ModelError(f"model '{params.model_id}' in {folder} could not be loaded: {error}") from error
        family = known_family(params.model_id) or family_of(folder)
        lora.fuse(pipeline, lora.loras(params, family))
        pipeline.to(acceleration.torch_device)
        if acceleration.half and getattr(pipeline.vae.config, "force_upcast", False):
            pipeline.vae.to(dtype=_float32())  # SDXL's autoencoder overflows in float16
        adapted = params.ip_adapter.enabled and not ip_adapter.left_out(params.ip_adapter)
        if adapted:
            ip_adapter.load(pipeline, params.ip_adapter, family, half=acceleration.half)
        device, dtype = acceleration.torch_device, acceleration.torch_dtype
        nets = [ControlNet.load(config, device, dtype, half=acceleration.half) for config in usable(params.controlnets)]
        model = cls(pipeline, pipeline.unet, pipeline.vae, device, dtype, family, tuple(nets), adapted)
        acceleration.apply(model)
        return model

    @property
    def scheduler_config(self) -> Any:
        return self.pipeline.scheduler.config

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a picture."""
        scale = self.pipeline.vae_scale_factor
        return (4, height // scale, width // scale)

    def encode(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A picture, (1, 3, H, W) in [-1, 1], as latents, (1, 4, H/8, W/8); AutoencoderKL draws them at random."""
        encoded = self.vae.encode(image.to(self.vae.dtype))
        drawn = hasattr(encoded, "latent_dist")
        latents = encoded.latent_dist.sample(generator) if drawn else encoded.latents
        scaled: torch.Tensor = latents * self.vae.config.scaling_factor
        return scaled.to(self.dtype)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as a picture, about in [-1, 1]."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        picture: torch.Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return picture

    def time_ids(self, latents: torch.Tensor) -> torch.Tensor:
        """SDXL's conditions on size: original height and width, crop at 0, 0, target height and width; (rows, 6)."""
        import torch

        scale = self.pipeline.vae_scale_factor
        height, width = latents.shape[-2] * scale, latents.shape[-1] * scale
        one = torch.tensor([[height, width, 0, 0, height, width]], device=latents.device, dtype=latents.dtype)
        return one.repeat(len(latents), 1)


def model_index(folder: Path) -> dict[str, Any]:
    """What a model's folder says it consists of.

    Raises:
        ModelError: it is no folder of a Stable Diffusion model in diffusers' layout.
    """
    file = folder / "model_index.json"
    if not file.is_file():
        raise ModelError(
            f"{folder} is no model: it has no model_index.json. A folder in diffusers' layout is needed, as "
            "save_pretrained writes it and the hub has it"
        )
    index: dict[str, Any] = json.loads(file.read_text())
    if index.get("_class_name") not in PIPELINE_CLASSES:
        raise ModelError(
            f"{folder} is a {index.get('_class_name')}; this pipeline runs Stable Diffusion 1.5, 2.1, Turbo and XL "
            f"({', '.join(PIPELINE_CLASSES)})"
        )
    return index


def _load_pipeline(
    params: StreamDiffusionParams, acceleration: Acceleration, folder: Path, index: dict[str, Any]
) -> Any:
    import diffusers

    xl = "XL" in index["_class_name"]
    parts: dict[str, Any] = (
        {} if xl else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    )
    vae = other_vae(params, known_family(params.model_id) or family_of(folder))
    if vae is not None:
        parts["vae"] = _load_vae(vae, acceleration)
    kind = diffusers.StableDiffusionXLPipeline if xl else diffusers.StableDiffusionPipeline
    return kind.from_pretrained(
        folder,
        dtype=acceleration.torch_dtype,
        variant=weights_variant(folder / "unet"),
        local_files_only=True,
        **parts,
    )


def model_repository(params: StreamDiffusionParams, *, half: bool) -> Repository:
    """Where the model itself comes from."""
    family = known_family(params.model_id)
    replaced = params.vae_id is not None or (params.use_tiny_vae and family is not None)
    return Repository.of_model(params.model_id, own_vae=not replaced, half=half)


def other_vae(params: StreamDiffusionParams, family: Family | None) -> str | None:
    """The autoencoder that takes the place of the model's own, None for its own."""
    if params.vae_id is not None:
        return params.vae_id
    return TINY_VAES[family] if params.use_tiny_vae and family is not None else None


def family_of(folder: Path) -> Family | None:
    """The family of a model by its UNet's configuration, None where that is of no known one."""
    file = folder / "unet" / "config.json"
    width = json.loads(file.read_text()).get("cross_attention_dim") if file.is_file() else None
    return FAMILY_BY_ATTENTION_WIDTH.get(width) if isinstance(width, int) else None


def _load_vae(vae_id: str, acceleration: Acceleration) -> Any:
    import diffusers

    folder = Repository(vae_id, half=acceleration.half).folder()
    file = folder / "config.json"
    name = json.loads(file.read_text()).get("_class_name") if file.is_file() else None
    if name not in ("AutoencoderTiny", "AutoencoderKL"):
        raise ModelError(f"vae_id '{vae_id}' is no AutoencoderTiny or AutoencoderKL: its config.json says {name}")
    kind = getattr(diffusers, name)
    return kind.from_pretrained(
        folder, dtype=acceleration.torch_dtype, variant=weights_variant(folder), local_files_only=True
    )


def _quiet() -> None:
    """No progress bars for what loads in seconds: they would fill the log."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _float32() -> torch.dtype:
    import torch

    return torch.float32

"""IP-Adapter (Ye et al. 2023): a picture as a prompt beside the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .family import Family
from .repository import Repository, weights_variant

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from .params import IPAdapterConfig

# Where the network's pictures-as-prompts come from, by the model's family.
_ADAPTERS: dict[Family, tuple[str, str]] = {
    "sd15": ("h94/IP-Adapter/models/ip-adapter_sd15.bin", "h94/IP-Adapter/models/image_encoder"),
    "sdxl": ("h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.bin", "h94/IP-Adapter/sdxl_models/image_encoder"),
}

# Which blocks of SDXL's UNet see the picture (Wang et al. 2024, InstantStyle); elsewhere all do.
_SDXL_BLOCKS: dict[str, dict[str, dict[str, Sequence[int]]]] = {
    "style transfer": {"up": {"block_0": (0, 1, 0)}},
    "composition": {"down": {"block_2": (0, 1)}},
    "style and composition": {"down": {"block_2": (0, 1)}, "up": {"block_0": (0, 1, 0)}},
}


@dataclass(frozen=True, eq=False)
class StyleImage:
    """What the image encoder makes of a picture: `embedding`, (1, 1, D)."""

    embedding: torch.Tensor


def repositories(config: IPAdapterConfig, family: Family | None, *, half: bool) -> tuple[Repository, Repository]:
    """Where the adapter and the image encoder come from.

    Raises:
        ModelError: none is named, and none is known for the model.
    """
    known = _ADAPTERS.get(family) if family is not None else None
    adapter = config.ipadapter_model_path or (known and known[0])
    encoder = config.image_encoder_path or (known and known[1])
    if not adapter or not encoder:
        raise ModelError(
            "no IP-Adapter is known for this model: name ip_adapter.ipadapter_model_path and image_encoder_path, or "
            "set ip_adapter.enabled to false"
        )
    return _file(adapter), _part(encoder, half=half)


def left_out(config: IPAdapterConfig) -> str:
    """Why an IP-Adapter that is enabled is not used; "" if it is."""
    if config.type == "faceid":
        return "type 'faceid' needs the face recognition of insightface, which this pipeline does not have"
    return ""


def uniform(config: IPAdapterConfig, family: Family | None) -> bool:
    """Whether a weight type other than linear is taken for linear."""
    return config.weight_type not in (None, "linear") and (family != "sdxl" or config.weight_type not in _SDXL_BLOCKS)


def load(pipeline: Any, config: IPAdapterConfig, family: Family | None, *, half: bool) -> None:
    """Put an adapter into a diffusers pipeline.

    Raises:
        ModelError: it is not there, or does not fit the model.
    """
    from transformers import CLIPVisionModelWithProjection

    adapter, encoder = repositories(config, family, half=half)
    folder, place = adapter.folder(), encoder.folder() / encoder.parts[0]
    file = Path(adapter.files[0])
    try:
        image_encoder = CLIPVisionModelWithProjection.from_pretrained(
            place, dtype=pipeline.dtype, variant=weights_variant(place), local_files_only=True
        )
        pipeline.register_modules(image_encoder=image_encoder.to(pipeline.device))
        pipeline.load_ip_adapter(
            str(folder),
            subfolder="" if str(file.parent) == "." else str(file.parent),
            weight_name=file.name,
            image_encoder_folder=None,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"the IP-Adapter {adapter.name}/{file} could not be loaded: {error}") from error


def set_scale(pipeline: Any, config: IPAdapterConfig, family: Family | None) -> None:
    """How strong the picture is, and in which blocks."""
    scale = config.scale if config.enabled else 0.0
    blocks = None if uniform(config, family) else _SDXL_BLOCKS.get(config.weight_type or "linear")
    if blocks is None:
        pipeline.set_ip_adapter_scale(scale)
        return
    scaled = {
        side: {block: [weight * scale for weight in weights] for block, weights in inside.items()}
        for side, inside in blocks.items()
    }
    pipeline.set_ip_adapter_scale(scaled)


def embed(pipeline: Any, image: Image) -> StyleImage:
    """What the UNet sees of a picture."""
    embedding, _ = pipeline.encode_image(image, pipeline.device, 1)
    return StyleImage(embedding.unsqueeze(1))


def _file(path: str) -> Repository:
    """``owner/repo/folder/file``, or the path of a file."""
    if Repository(path).local:
        place = Path(path).expanduser()
        if not place.is_file():
            raise ModelError(f"there is no file {place} (ip_adapter.ipadapter_model_path)")
        return Repository(str(place.parent), files=(place.name,))
    owner, repo, file = _split(path, "ipadapter_model_path")
    return Repository(f"{owner}/{repo}", files=(file,))


def _part(path: str, *, half: bool) -> Repository:
    """``owner/repo/folder``, or the path of a folder."""
    if Repository(path).local:
        return Repository(path, half=half)
    owner, repo, folder = _split(path, "image_encoder_path")
    return Repository(f"{owner}/{repo}", parts=(folder,), half=half)


def _split(path: str, name: str) -> tuple[str, str, str]:
    parts = path.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise ModelError(f"ip_adapter.{name}: '{path}' is no path, and no owner/repository/place on the hub")
    return parts[0], parts[1], parts[2]

"""LoRAs (Hu et al. 2021): small changes to a model's weights, added to them once, so that they cost nothing later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .family import LCM_LORAS, Family
from .repository import Repository

if TYPE_CHECKING:
    from .params import StreamDiffusionParams

WEIGHTS = "pytorch_lora_weights.safetensors"  # as diffusers names them
DEFAULT_LCM = LCM_LORAS["sd15"]


def loras(params: StreamDiffusionParams, family: Family | None) -> dict[str, float]:
    """Names and weights of all LoRAs for a model; the LCM one where a model is made for many steps."""
    named = dict(params.lora_dict or {})
    if not params.use_lcm_lora or "turbo" in params.model_id.lower():
        return named
    lcm = params.lcm_lora_id if params.lcm_lora_id != DEFAULT_LCM else LCM_LORAS.get(family) if family else None
    if lcm is not None:
        named.setdefault(lcm, 1.0)
    return named


def repository(name: str) -> Repository:
    """Where a LoRA comes from: a file or folder, a hub id, or a hub id and the file in it.

    Raises:
        ModelError: there is no such file.
    """
    place = Repository(name)
    if place.local:
        path = Path(name).expanduser()
        if path.is_file():
            return Repository(str(path.parent), files=(path.name,))
        return Repository(name, files=(WEIGHTS,))
    owner, _, rest = name.partition("/")
    repo, _, file = rest.partition("/")
    return Repository(f"{owner}/{repo}", files=(file or WEIGHTS,))


def fuse(pipeline: Any, named: dict[str, float]) -> None:
    """Add LoRAs to the weights of a diffusers pipeline.

    Raises:
        ModelError: one is not there, or does not fit the model.
    """
    if not named:
        return
    adapters = [f"lora_{number}" for number in range(len(named))]
    for adapter, name in zip(adapters, named, strict=True):
        place = repository(name)
        folder, file = place.folder(), place.files[0]
        try:
            pipeline.load_lora_weights(folder, weight_name=file, adapter_name=adapter, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"LoRA '{name}' could not be loaded: {error}") from error
    pipeline.set_adapters(adapters, adapter_weights=list(named.values()))
    pipeline.fuse_lora(adapter_names=adapters)
    pipeline.unload_lora_weights()

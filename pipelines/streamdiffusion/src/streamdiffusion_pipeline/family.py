"""Which family of diffusion models a model or an add-on belongs to, as far as its name says."""

from __future__ import annotations

from typing import Literal

Family = Literal["sd15", "sd21", "sdxl"]

# Models that the network offers. Any other hub id or folder works too: its own configuration says what it is.
MODEL_FAMILIES: dict[str, Family] = {
    "stabilityai/sd-turbo": "sd21",
    "stabilityai/sdxl-turbo": "sdxl",
    "prompthero/openjourney-v4": "sd15",
    "Lykon/dreamshaper-8": "sd15",
}

CONTROLNET_FAMILIES: dict[str, Family] = {
    "thibaud/controlnet-sd21-openpose-diffusers": "sd21",
    "thibaud/controlnet-sd21-hed-diffusers": "sd21",
    "thibaud/controlnet-sd21-canny-diffusers": "sd21",
    "thibaud/controlnet-sd21-depth-diffusers": "sd21",
    "thibaud/controlnet-sd21-color-diffusers": "sd21",
    "daydreamlive/TemporalNet2-stable-diffusion-2-1": "sd21",
    "lllyasviel/control_v11f1p_sd15_depth": "sd15",
    "lllyasviel/control_v11f1e_sd15_tile": "sd15",
    "lllyasviel/control_v11p_sd15_canny": "sd15",
    "daydreamlive/TemporalNet2-stable-diffusion-v1-5": "sd15",
    "xinsir/controlnet-depth-sdxl-1.0": "sdxl",
    "xinsir/controlnet-canny-sdxl-1.0": "sdxl",
    "xinsir/controlnet-tile-sdxl-1.0": "sdxl",
    "daydreamlive/TemporalNet2-stable-diffusion-xl-base-1.0": "sdxl",
}

# Width of the text embeddings that a UNet attends to -> its family (SDXL: both encoders side by side).
FAMILY_BY_ATTENTION_WIDTH: dict[int, Family] = {768: "sd15", 1024: "sd21", 2048: "sdxl"}

TINY_VAES: dict[Family, str] = {
    "sd15": "madebyollin/taesd",
    "sd21": "madebyollin/taesd",
    "sdxl": "madebyollin/taesdxl",
}

LCM_LORAS: dict[Family, str] = {
    "sd15": "latent-consistency/lcm-lora-sdv1-5",
    "sdxl": "latent-consistency/lcm-lora-sdxl",
}


def known_family(model_id: str) -> Family | None:
    """The family of a model that is known by name, None for any other."""
    return MODEL_FAMILIES.get(model_id)

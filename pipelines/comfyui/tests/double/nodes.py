"""Those of ComfyUI's own nodes that tests need, and what nodes ask of the server while they run."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


class Folders:
    """ComfyUI's folders below the base directory."""

    base: Path

    def of(self, kind: str) -> Path:
        return self.base / kind

    def annotated(self, name: str) -> Path:
        """A file by a name like ``picture.png [temp]``."""
        for kind in ("temp", "output", "input"):
            if name.endswith(f" [{kind}]"):
                return self.of(kind) / name.removesuffix(f" [{kind}]")
        return self.of("input") / name


class InterruptProcessingException(Exception):
    pass


class Running:
    """What the node that runs now may do."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.frees = 0
        self.progress: Callable[[int, int, tuple[str, Image.Image] | None], None] = lambda *_: None

    def look(self) -> None:
        """Raise if somebody has asked to stop, which is forgotten by that."""
        if self.interrupted.is_set():
            self.interrupted.clear()
            raise InterruptProcessingException


folders = Folders()
running = Running()


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        files = sorted(path.name for path in folders.of("input").iterdir() if path.is_file())
        return {"required": {"image": (files, {"image_upload": True})}}

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return hashlib.sha256(folders.annotated(image).read_bytes()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return True if folders.annotated(image).is_file() else f"Invalid image file: {image}"

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(folders.annotated(image)) as file:
            pixels = np.array(file.convert("RGB")).astype(np.float32) / 255.0
        return torch.from_numpy(pixels)[None], torch.zeros((1, 64, 64))


class ImageInvert:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (1.0 - image,)


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        number = ("INT", {"default": 512, "min": 1, "max": 16384})
        color = ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "display": "color"})
        return {"required": {"width": number, "height": number, "batch_size": number, "color": color}}

    def generate(self, width: int, height: int, batch_size: int, color: int) -> tuple[torch.Tensor]:
        channels = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
        return (torch.tensor(channels).expand(batch_size, height, width, 3),)


class ImageScale:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    CATEGORY = "image/upscaling"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        size = ("INT", {"default": 512, "min": 0, "max": 16384, "step": 1})
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (["nearest-exact", "bilinear"],),
                "width": size,
                "height": size,
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(self, image: torch.Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Any]:
        assert crop == "disabled"
        scaled = torch.nn.functional.interpolate(image.movedim(-1, 1), (height, width), mode=upscale_method)
        return (scaled.movedim(1, -1),)


class CheckpointLoaderSimple:
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"
    CATEGORY = "loaders"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"ckpt_name": (["sd_turbo.safetensors"], {"tooltip": "The name of the checkpoint."})}}

    def load_checkpoint(self, ckpt_name: str) -> tuple[str, str, str]:
        return (ckpt_name, ckpt_name, ckpt_name)


class SaveImageWebsocket:
    """A custom node that ComfyUI ships."""

    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "api/image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, images: Any) -> float:  # noqa: ARG003
        return time.time()

    def save_images(self, images: torch.Tensor) -> dict[str, Any]:
        for step, image in enumerate(images):
            pixels = np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)  # cuts off, as the original does
            running.progress(step, images.shape[0], ("PNG", Image.fromarray(pixels)))
        return {}


NODE_CLASS_MAPPINGS: dict[str, Any] = {
    node.__name__: node
    for node in (LoadImage, ImageInvert, EmptyImage, ImageScale, CheckpointLoaderSimple, SaveImageWebsocket)
}

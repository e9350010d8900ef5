"""Picture to picture without a model: control pictures for ControlNets, and processing before and after diffusion.

All take and give (1, 3, H, W), float, in [0, 1], on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from .params import ImageProcessorName, ProcessingConfig

# (the input, the picture shown last or None, the processor's params) -> picture
Processor = Callable[["torch.Tensor", "torch.Tensor | None", Mapping[str, Any]], "torch.Tensor"]
Use = Literal["control", "before", "after"]

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def passthrough(image: torch.Tensor, _shown: torch.Tensor | None, _params: Mapping[str, Any]) -> torch.Tensor:
    """The picture itself."""
    return image


def canny(image: torch.Tensor, _shown: torch.Tensor | None, params: Mapping[str, Any]) -> torch.Tensor:
    """White edges on black (Canny 1986). `low_threshold`, `high_threshold`: 100 and 200, of gradients of 8-bit grey."""
    import cv2
    import torch

    pixels = (_grey(image)[0, 0] * 255).round().to(torch.uint8).cpu().numpy()
    edges = cv2.Canny(pixels, float(params.get("low_threshold", 100)), float(params.get("high_threshold", 200)))
    return torch.from_numpy(edges).to(image.device, image.dtype).div(255).expand(1, 3, -1, -1)


def soft_edge(image: torch.Tensor, _shown: torch.Tensor | None, _params: Mapping[str, Any]) -> torch.Tensor:
    """Edges as soft as they are: the Sobel gradient's length, the strongest one white."""
    import torch

    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=image.device, dtype=image.dtype
    )
    padded = torch.nn.functional.pad(_grey(image), (1, 1, 1, 1), mode="replicate")
    gradient = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T]).unsqueeze(1))
    length: torch.Tensor = gradient.norm(dim=1, keepdim=True)
    return (length / length.max().clamp_min(1e-6)).expand(1, 3, -1, -1)


def feedback(image: torch.Tensor, shown: torch.Tensor | None, params: Mapping[str, Any]) -> torch.Tensor:
    """The picture shown last, mixed into the input. `feedback_strength`: 0 to 1, 0.5."""
    if shown is None or shown.shape != image.shape:
        return image
    strength = _between(params, "feedback_strength", 0.5, 0.0, 1.0)
    return (1 - strength) * image + strength * shown


def blur(image: torch.Tensor, _shown: torch.Tensor | None, params: Mapping[str, Any]) -> torch.Tensor:
    """Gaussian blur. `sigma`: of the Gaussian in pixels, 0.1 to 20, 2."""
    import torch

    sigma = _between(params, "sigma", 2.0, 0.1, 20.0)
    radius = min(round(3 * sigma) or 1, min(image.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    padded = torch.nn.functional.pad(image, (radius,) * 4, mode="reflect")
    rows = torch.nn.functional.conv2d(padded, weights, groups=3)
    return torch.nn.functional.conv2d(rows, weights.transpose(2, 3), groups=3)


def sharpen(image: torch.Tensor, shown: torch.Tensor | None, params: Mapping[str, Any]) -> torch.Tensor:
    """What a blur takes away is added. `sharpen_intensity`: 0 to 10, 1."""
    intensity = _between(params, "sharpen_intensity", 1.0, 0.0, 10.0)
    return (image + intensity * (image - blur(image, shown, {}))).clamp(0, 1)


def upscale(image: torch.Tensor, _shown: torch.Tensor | None, params: Mapping[str, Any]) -> torch.Tensor:
    """Bicubic scaling. `scale_factor`: 2."""
    import torch

    factor = _between(params, "scale_factor", 2.0, 1.0, 4.0)
    size = [int(side * factor) for side in image.shape[-2:]]
    return torch.nn.functional.interpolate(image, size=size, mode="bicubic").clamp(0, 1)


_ANYWHERE: dict[str, Processor] = {
    "passthrough": passthrough,
    "canny": canny,
    "soft_edge": soft_edge,
    "feedback": feedback,
    "blur": blur,
    "sharpen": sharpen,
}
PROCESSORS: dict[Use, dict[str, Processor]] = {
    "control": _ANYWHERE,
    "before": _ANYWHERE,
    "after": {**_ANYWHERE, "upscale": upscale},
}


def unavailable(name: str, use: Use) -> str:
    """Why a processor cannot be used for something here; "" if it can."""
    if name in PROCESSORS[use]:
        return ""
    if name == "upscale":
        return "'upscale' changes the size of the picture: it can only be in image_postprocessing"
    if name.endswith(("_tensorrt", "_trt")):
        return f"'{name}' needs a TensorRT engine of another project"
    return f"'{name}' needs a model that this pipeline does not have"


def steps(config: ProcessingConfig[ImageProcessorName] | None, use: Use) -> list[tuple[Processor, Mapping[str, Any]]]:
    """The processors of a list that are enabled and can be used, in order, with their params."""
    if config is None or not config.enabled:
        return []
    usable = PROCESSORS[use]
    return [(usable[step.type], step.params) for step in config.processors if step.enabled and step.type in usable]


def process(
    image: torch.Tensor, shown: torch.Tensor | None, chain: Sequence[tuple[Processor, Mapping[str, Any]]]
) -> torch.Tensor:
    """The picture after all steps. Raises ValueError for params of a step that are out of range."""
    for processor, params in chain:
        image = processor(image, shown, params)
    return image


def _grey(image: torch.Tensor) -> torch.Tensor:
    red, green, blue = (image[:, channel : channel + 1] * weight for channel, weight in enumerate(GREY))
    return red + green + blue


def _between(params: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = params.get(name, default)
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)

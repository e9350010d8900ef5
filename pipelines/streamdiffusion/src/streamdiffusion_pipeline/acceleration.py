"""What is done for speed, and why some of what was asked for is not: decided once, before anything is loaded."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from .model import Model
    from .params import StreamDiffusionParams

logger = logging.getLogger(__name__)

TENSORRT = "torch_tensorrt"  # what `pip install torch-tensorrt` installs; a backend of torch.compile


@dataclass(frozen=True)
class Acceleration:
    """Where and how a model runs.

    Attributes:
        device: ``cuda`` where torch sees a GPU, else ``cpu``.
        dtype: name of the UNet's.
        backend: of torch.compile; None: not compiled.
        mode: of torch.compile; ``reduce-overhead`` is the one with CUDA graphs.
        notices: what was asked for and is not done, with the reason.
    """

    device: Literal["cuda", "cpu"]
    dtype: Literal["float32", "float16", "bfloat16"]
    channels_last: bool
    backend: str | None
    mode: str | None
    notices: tuple[str, ...]

    @classmethod
    def plan(cls, params: StreamDiffusionParams, *, gpu: bool | None = None) -> Acceleration:
        """What these params mean on this machine.

        Args:
            gpu: whether there is one; None: as torch sees it.
        """
        if gpu is None:
            import torch

            gpu = torch.cuda.is_available()
        notices: list[str] = []
        dtype = params.dtype if params.dtype != "auto" else ("float16" if gpu else "float32")
        if not gpu:
            asked = {
                "acceleration": params.acceleration != "none" and params.acceleration,
                "torch_compile": params.torch_compile,
                "cuda_graphs": params.cuda_graphs,
                "channels_last": params.channels_last,
                "dtype": dtype != "float32" and dtype,
            }
            given = [f"{name}={value}" for name, value in asked.items() if value]
            if given:
                notices.append(
                    f"{', '.join(given)}: without effect, torch sees no GPU here; runs in float32 on the CPU"
                )
            return cls("cpu", "float32", False, None, None, tuple(notices))
        backend, mode = _compilation(params, notices)
        return cls("cuda", dtype, params.channels_last, backend, mode, tuple(notices))

    @property
    def half(self) -> bool:
        """Whether weights in float16 are what should be fetched."""
        return self.dtype == "float16"

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
        return kinds[self.dtype]

    @property
    def torch_device(self) -> torch.device:
        import torch

        return torch.device(self.device)

    def log(self) -> None:
        """Say what is not done, and why."""
        for notice in self.notices:
            logger.warning("%s", notice)

    def apply(self, model: Model) -> None:
        """Change a loaded model's layout, and compile it; compilation itself comes with its first frames."""
        import torch

        if self.channels_last:
            model.unet.to(memory_format=torch.channels_last)
            model.vae.to(memory_format=torch.channels_last)
        if self.backend is None:
            return
        options: dict[str, Any] = {"backend": self.backend}
        if self.mode is not None:
            options["mode"] = self.mode
        model.unet = torch.compile(model.unet, **options)
        model.vae.decode = torch.compile(model.vae.decode, **options)


def _compilation(params: StreamDiffusionParams, notices: list[str]) -> tuple[str | None, str | None]:
    """Backend and mode of torch.compile on a GPU."""
    if params.acceleration == "xformers":
        notices.append("acceleration=xformers: not used, torch's own attention is the same or faster since torch 2")
    if params.acceleration == "tensorrt":
        if importlib.util.find_spec(TENSORRT) is not None:
            if params.cuda_graphs:
                notices.append("cuda_graphs: without effect with acceleration=tensorrt")
            return TENSORRT, None
        notices.append("acceleration=tensorrt: not used, torch-tensorrt is not installed (pip install torch-tensorrt)")
    if params.cuda_graphs:
        return "inductor", "reduce-overhead"
    return ("inductor", None) if params.torch_compile else (None, None)

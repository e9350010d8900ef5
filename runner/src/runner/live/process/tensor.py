"""Pixels <-> tensors, at the boundary of a pipeline: uint8 in shared memory, float32 [0, 1] inside.

The contract (Livepeer ai-runner, part 7.2): float32, contiguous, (1, H, W, 3), RGB, [0, 1], exactly
``uint8 / 255``; on the GPU where there is one. Upstream's way back wraps values outside [0, 1]; here
they are clamped, and rounded, so that a picture that passes through unchanged comes out unchanged.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS_AT_ONCE = 32  # of the way back on the CPU: what is worked on stays in the cache
_BUFFERS = 8


class OutputError(TypeError):
    """A pipeline's output is no frame: says what was expected and what came."""


class BufferPool:
    """Float arrays for input tensors, used again as soon as nobody refers to them.

    A fresh 720p tensor costs 14 ms in page faults, a used one 0.5 ms. A pipeline may keep a tensor
    for as long as it likes: every tensor and view over an array holds a reference to it, so an
    array is free exactly when its reference count says that only the pool has it.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.float32]] = []
        self._countable = getattr(sys, "_is_gil_enabled", lambda: True)()

    def take(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of that shape with undefined content."""
        self._arrays = [array for array in self._arrays if array.shape == shape]
        for index in range(len(self._arrays)):
            # 2: the pool's list, and getrefcount's own argument
            if self._countable and sys.getrefcount(self._arrays[index]) == 2:
                return self._arrays[index]
        array = np.empty(shape, np.float32)
        if len(self._arrays) < _BUFFERS:
            self._arrays.append(array)
        return array


class FrameConverter:
    """Converts frames for one pipeline process."""

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._pool = BufferPool()
        self._scratch = np.empty((0, 0, 3), np.float32)

    def to_tensor(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (H, W, 3) -> float32 (1, H, W, 3) in [0, 1] on the pipeline's device; `pixels` may change after."""
        if self.device.type != "cpu":
            # A copy, because the slot is read-only memory; a quarter of the bytes of floats go over the bus.
            uploaded = torch.from_numpy(pixels.copy()).to(self.device)
            return uploaded.unsqueeze(0).to(torch.float32).div_(255.0)
        array = self._pool.take((1, *pixels.shape))
        np.divide(pixels, np.float32(255), out=array[0], dtype=np.float32)
        return torch.from_numpy(array)

    def to_pixels(self, tensor: torch.Tensor, pixels: NDArray[np.uint8]) -> None:
        """A checked output -> uint8 (H, W, 3), clamped and rounded, written into `pixels`."""
        picture = tensor.detach()
        if picture.ndim == 4:
            picture = picture[0]
        if picture.device.type != "cpu":
            scaled = picture.float().mul(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
            torch.from_numpy(pixels).copy_(scaled)
            return
        self._to_pixels_on_cpu(picture.float().numpy(), pixels)

    def _to_pixels_on_cpu(self, picture: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        if self._scratch.shape[1] != width:
            self._scratch = np.empty((_ROWS_AT_ONCE, width, 3), np.float32)
        # NaN has no place in a picture: it becomes 0 like everything below.
        with np.errstate(all="ignore"):  # whatever the pipeline has set
            for top in range(0, height, _ROWS_AT_ONCE):
                rows = picture[top : top + _ROWS_AT_ONCE]
                scaled = self._scratch[: len(rows)]
                np.multiply(rows, np.float32(255), out=scaled)
                np.add(scaled, np.float32(0.5), out=scaled)
                np.clip(scaled, 0, 255, out=scaled)
                np.copyto(pixels[top : top + _ROWS_AT_ONCE], scaled, casting="unsafe")


EXPECTED = "a float tensor of shape (1, H, W, 3), RGB, values in [0, 1]"


def check_output(tensor: Any) -> tuple[int, int]:
    """(width, height) of an output tensor; called for every output, costs no pass over the values.

    Raises:
        OutputError: not a picture, with the way out where it can be guessed.
    """
    if not isinstance(tensor, torch.Tensor):
        raise OutputError(f"output is {type(tensor).__name__}, expected {EXPECTED}{_not_a_tensor_hint(tensor)}")
    shape = tuple(tensor.shape)
    got = f"output has shape {shape}, {str(tensor.dtype).removeprefix('torch.')}; expected {EXPECTED}"
    plausible = shape[-3:] if len(shape) == 3 or (len(shape) == 4 and shape[0] == 1) else None
    if plausible is None or plausible[-1] != 3 or min(plausible[:2]) < 1:
        raise OutputError(got + _shape_hint(shape))
    if not tensor.dtype.is_floating_point:
        way_out = ". Divide by 255: tensor.float() / 255" if tensor.dtype == torch.uint8 else ""
        raise OutputError(got + way_out)
    return plausible[1], plausible[0]


def _not_a_tensor_hint(value: Any) -> str:
    if value is None:
        return ". Does the function end without `return`?"
    if isinstance(value, np.ndarray):
        return ". Make it one: torch.from_numpy(array)[None]"
    return ""


def _shape_hint(shape: tuple[int, ...]) -> str:
    if (len(shape) == 4 and shape[1] == 3) or (len(shape) == 3 and shape[0] == 3):
        order = "0, 2, 3, 1" if len(shape) == 4 else "1, 2, 0"
        return f". Channels come last: tensor.permute({order})"
    if shape and shape[-1] in (1, 4) and len(shape) in (3, 4):
        return f". {shape[-1]} channel(s) instead of 3" + (": tensor.expand(-1, -1, -1, 3)" if shape[-1] == 1 else "")
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
        return ". A grey picture needs its 3 channels: tensor[..., None].expand(-1, -1, -1, 3)"
    return ""


def range_warning(tensor: torch.Tensor) -> str:
    """What is wrong with the values of an output, with numbers; "" if nothing is."""
    # By numpy: the threads that torch would start for this cost more than the work.
    picture = tensor.detach().float().cpu().numpy()
    low, high = float(picture.min()), float(picture.max())
    if not np.isfinite([low, high]).all():
        return "output holds NaN or infinite values; they are shown as 0 and 1"
    if low >= 0.0 and high <= 1.0 + 1e-6:
        return ""
    guess = ""
    if high > 2.0:
        guess = " (0..255? divide by 255)"
    elif low < -0.01:
        guess = " ([-1, 1]? (tensor + 1) / 2)"
    return f"output values go from {low:.3g} to {high:.3g}; expected [0, 1]{guess}; they are clamped"

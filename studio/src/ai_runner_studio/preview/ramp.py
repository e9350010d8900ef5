"""The picture as plain characters, for terminals without colour: dark is a space, bright an ``@``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RAMP = np.frombuffer(b" .:-=+*#%@", np.uint8)


def encode_rows(pixels: NDArray[np.uint8]) -> list[str]:
    """One string of ASCII per line of a uint8 (rows, columns, 3) picture."""
    brightness = pixels @ np.array([77, 150, 29])  # Rec. 601 luma, times 256
    cells = _RAMP[brightness * len(_RAMP) >> 16]
    return [row.tobytes().decode("ascii") for row in cells]

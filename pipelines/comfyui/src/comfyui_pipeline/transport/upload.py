"""Upload: pictures go to a server anywhere as PNG, to a LoadImage node, and come back over the WebSocket.

Needs nothing on the server. Costs the coding of two pictures, and is exact to one step of 255: ComfyUI's
SaveImageWebsocket cuts off instead of rounding.
"""

from __future__ import annotations

import asyncio
import io
import secrets
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..client import ComfyClient
from ..errors import TransportError
from ..execution import Execution
from ..rewrite import LiveNode
from .transport import Transport

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FASTEST = 1  # of zlib's levels: the network is not what is slow here


class Upload(Transport):
    """See the module's text."""

    name = "upload"

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._prefix = f"ai-runner-{secrets.token_hex(4)}"
        self._files: dict[int, str] = {}

    async def put(self, client: ComfyClient, slot: int, picture: torch.Tensor) -> None:
        pixels = picture.reshape(picture.shape[-3:]).clamp(0, 1).mul(255).round().to("cpu", torch.uint8).numpy()
        png = await asyncio.to_thread(_encoded, pixels)
        self._files[slot] = await client.upload(f"{self._prefix}-{slot}.png", png)

    def entry(self, slot: int, seq: int) -> LiveNode:  # noqa: ARG002  # LoadImage looks at the file's content
        return LiveNode("LoadImage", {"image": self._files[slot]})

    def exit(self, slot: int, seq: int) -> LiveNode:  # noqa: ARG002  # SaveImageWebsocket runs each time
        return LiveNode("SaveImageWebsocket", {})

    async def take(self, slot: int, seq: int, execution: Execution) -> torch.Tensor:  # noqa: ARG002
        if len(execution.pictures) != 1:
            raise TransportError(
                f"the workflow gave {len(execution.pictures)} pictures for one; a live pipeline takes one"
            )
        return await asyncio.to_thread(_decoded, execution.pictures[0])


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=_FASTEST)
    return file.getvalue()


def _decoded(file: bytes) -> torch.Tensor:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as image:
            pixels = np.array(image.convert("RGB"))
    except OSError as error:
        raise TransportError(f"what the workflow sent is no picture: {error}") from error
    return torch.from_numpy(pixels).unsqueeze(0).to(torch.float32).div_(255.0)

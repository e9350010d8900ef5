"""ComfyUI nodes that take a live picture out of shared memory, and put the result back.

This folder belongs into ComfyUI's ``custom_nodes``; it imports nothing but what ComfyUI has.

A *segment* is memory of another process of the same user, opened by name for each picture: nothing of it stays
mapped here, so it is gone when its owner is. Its first bytes are `MAGIC` and a 16-byte token. A workflow names a
segment, and workflows may come from strangers: only names of the two forms that the owner makes are opened, and
nothing is written where magic and token are not right.

A picture is float32, (1, H, W, 3), RGB in [0, 1], which is ComfyUI's own IMAGE: it is copied bit by bit. A result is
`RESULT` (seq, height, width), then its pixels.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

VERSION = "1"
MAGIC = b"AIRLIVE1"
HEADER_BYTES = len(MAGIC) + 16
RESULT = struct.Struct("<QII48x")
_NAME = re.compile(r"/proc/[0-9]+/fd/[0-9]+|/([^/]+/)*ai-runner-[a-z0-9-]+")
_LARGEST = 2**53  # what JSON carries exactly
_NUMBER = ("INT", {"default": 0, "min": 0, "max": _LARGEST})
_TEXT = ("STRING", {"default": ""})
_ABOUT = f"Made by AI Runner's comfyui pipeline, which fills in everything (node package {VERSION})."


@contextmanager
def opened(segment: str, token: str, flags: int) -> Iterator[int]:
    """A descriptor of a segment, checked.

    Raises:
        ValueError: the name or the token is not that of a segment.
        OSError: the segment is gone, or belongs to another user.
    """
    if not _NAME.fullmatch(segment) or ".." in segment:
        raise ValueError(f"'{segment}' is not the name of a segment")
    descriptor = os.open(segment, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not regular or os.pread(descriptor, HEADER_BYTES, 0) != MAGIC + bytes.fromhex(token):
            raise ValueError(f"'{segment}' is not the segment that was meant")
        yield descriptor
    finally:
        os.close(descriptor)


class LiveFrameIn:
    """Gives the live picture; `seq` changes with each, so that ComfyUI does not take it for the one before."""

    CATEGORY = "ai-runner"
    DESCRIPTION = _ABOUT
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = {"segment": _TEXT, "token": _TEXT}
        return {"required": {**names, **dict.fromkeys(("offset", "width", "height", "seq"), _NUMBER)}}

    def read(
        self,
        segment: str,
        token: str,
        offset: int,
        width: int,
        height: int,
        seq: int,  # noqa: ARG002  # tells one picture from the next
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture, (1, height, width, 3), and an empty mask, as LoadImage gives for a picture without one."""
        picture = torch.empty((1, height, width, 3), dtype=torch.float32)
        pixels = memoryview(picture.numpy()).cast("B")  # type: ignore[arg-type,unused-ignore]
        with opened(segment, token, os.O_RDONLY) as descriptor:
            if os.preadv(descriptor, [pixels], offset) != len(pixels):
                raise ValueError(f"the segment ends inside the picture of {width}x{height}")
        return picture, torch.zeros((1, 64, 64), dtype=torch.float32)


class LiveFrameOut:
    """Takes the result."""

    CATEGORY = "ai-runner"
    DESCRIPTION = _ABOUT
    RETURN_TYPES = ()
    FUNCTION = "write"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = {"images": ("IMAGE",), "segment": _TEXT, "token": _TEXT}
        return {"required": {**names, **dict.fromkeys(("offset", "capacity", "seq"), _NUMBER)}}

    def write(
        self, images: torch.Tensor, segment: str, token: str, offset: int, capacity: int, seq: int
    ) -> dict[str, Any]:
        """Write one picture, (1, H, W, 3) or (1, H, W, 4), of `capacity` bytes at most."""
        if images.shape[0] != 1:
            raise ValueError(f"the workflow makes {images.shape[0]} pictures of one; a live pipeline takes one")
        picture = images[..., :3].detach().to("cpu", torch.float32).contiguous()
        _, height, width, channels = picture.shape
        pixels = memoryview(picture.numpy()).cast("B")  # type: ignore[arg-type,unused-ignore]
        if channels != 3 or len(pixels) > capacity:
            raise ValueError(
                f"the workflow gives pictures of {width}x{height} with {channels} channels, there is room for "
                f"{capacity // 12} pixels: set output_width and output_height"
            )
        with opened(segment, token, os.O_RDWR) as descriptor:
            os.pwritev(descriptor, [RESULT.pack(seq, height, width), pixels], offset)
        return {}


NODE_CLASS_MAPPINGS = {"LiveFrameIn": LiveFrameIn, "LiveFrameOut": LiveFrameOut}
NODE_DISPLAY_NAME_MAPPINGS = {"LiveFrameIn": "Live Frame In", "LiveFrameOut": "Live Frame Out"}

"""Nodes that do what goes wrong in real ones."""

# ruff: noqa: ARG002, RUF012  # as custom nodes are written

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import torch
from nodes import running
from PIL import Image


class _Troublesome:
    RETURN_TYPES: tuple[str, ...] = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "trouble"
    MORE: dict[str, Any] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": ("IMAGE",), **cls.MORE}}


class Brightness(_Troublesome):
    """Nothing wrong with this one: values to be set while it runs."""

    MORE = {
        "factor": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0}),
        "channel": (["all", "red"],),
        "negative": ("BOOLEAN", {"default": False}),
        "note": ("STRING", {"multiline": True}),
    }

    def run(self, image: torch.Tensor, factor: float, channel: str, negative: bool, note: str) -> tuple[torch.Tensor]:
        factors = torch.full((3,), factor) if channel == "all" else torch.tensor([factor, 1.0, 1.0])
        result = (image * factors).clamp(0, 1)
        return (1 - result if negative else result,)


class Previews(_Troublesome):
    """As KSampler: pictures that are not the result, over the same WebSocket."""

    def run(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        for step in range(3):
            running.progress(step, 3, ("JPEG", Image.new("RGB", (16, 16), "red")))
        return (image,)


class Raise(_Troublesome):
    MORE = {"message": ("STRING", {})}

    def run(self, image: torch.Tensor, message: str) -> tuple[torch.Tensor]:
        raise RuntimeError(message)


class RaiseAbove(_Troublesome):
    """Fails on pictures that are bright on average."""

    MORE = {"most": ("FLOAT", {"min": 0.0, "max": 1.0})}

    def run(self, image: torch.Tensor, most: float) -> tuple[torch.Tensor]:
        if image.mean() > most:
            raise RuntimeError("too bright")
        return (image,)


class NeedsMemory(_Troublesome):
    """For pictures brighter than 0.9 it has none until the server has freed some so often since the first `key`."""

    MORE = {"key": ("STRING", {}), "frees": ("INT", {"min": 0})}
    first: dict[str, int] = {}

    def run(self, image: torch.Tensor, key: str, frees: int) -> tuple[torch.Tensor]:
        if image.mean() > 0.9 and running.frees < self.first.setdefault(key, running.frees) + frees:
            raise torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)")
        return (image,)


class Gate(_Troublesome):
    """Lets pictures brighter than `above` wait until a file is there; one that hangs hears of no interrupt.

    From the first that waits on there is a file of that name with ``.reached`` at its end.
    """

    MORE = {"file": ("STRING", {}), "above": ("FLOAT", {}), "hangs": ("BOOLEAN", {})}

    def run(self, image: torch.Tensor, file: str, above: float, hangs: bool) -> tuple[torch.Tensor]:
        bright = image.mean() > above
        if bright:
            with open(f"{file}.reached", "w"):
                pass
        while bright and not os.path.exists(file):
            if not hangs:
                running.look()
            time.sleep(0.005)
        return (image,)


class CrashOnce(_Troublesome):
    """Takes the whole server down, unless the file is there that it has written before."""

    MORE = {"file": ("STRING", {})}

    def run(self, image: torch.Tensor, file: str) -> tuple[torch.Tensor]:
        if image.mean() > 0.9 and not os.path.exists(file):
            with open(file, "w"):
                pass
            print("Fatal: the driver is gone", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return (image,)


class LeavesAProcess(_Troublesome):
    """As custom nodes that start a server of their own."""

    MORE = {"file": ("STRING", {})}

    def run(self, image: torch.Tensor, file: str) -> tuple[torch.Tensor]:
        if not os.path.exists(file):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(file, "w") as out:
                out.write(str(child.pid))
        return (image,)


class Twice(_Troublesome):
    def run(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.cat([image, image]),)


NODE_CLASS_MAPPINGS = {
    node.__name__: node
    for node in (
        Brightness,
        Previews,
        Raise,
        RaiseAbove,
        NeedsMemory,
        Gate,
        CrashOnce,
        LeavesAProcess,
        Twice,
    )
}

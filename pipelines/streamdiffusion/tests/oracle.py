"""Runs PyPI's streamdiffusion 0.1.1 in a process of its own: what it paints is what ours must paint.

    python oracle.py MODEL_FOLDER INPUTS.pt OUTPUTS.pt CASES_JSON

It is not usable as it is today: it asks for CUDA events and synchronization also on the CPU, which are replaced here.
"""

from __future__ import annotations

import json
import sys

import torch

torch.set_num_threads(1)


class NoEvent:
    """Stands in for torch.cuda.Event, which no CPU build has."""

    def __init__(self, **_: object) -> None: ...

    def record(self) -> None: ...

    def elapsed_time(self, _end: object) -> float:
        return 0.0


torch.cuda.Event = NoEvent
torch.cuda.synchronize = lambda: None

from diffusers import StableDiffusionPipeline  # noqa: E402
from streamdiffusion import StreamDiffusion  # noqa: E402


def paint(pipe: StableDiffusionPipeline, inputs: list[torch.Tensor], case: dict) -> list[torch.Tensor]:
    height, width = inputs[0].shape[1:3]
    stream = StreamDiffusion(
        pipe, case["t_index_list"], torch.float32, width, height, cfg_type=case["cfg_type"], use_denoising_batch=True
    )
    stream.prepare(
        case["prompt"],
        case["negative_prompt"],
        guidance_scale=case["guidance_scale"],
        delta=case["delta"],
        generator=torch.Generator(),
        seed=case["seed"],
    )
    outputs = [stream(frame.permute(0, 3, 1, 2).contiguous()) for frame in inputs]
    return [(output / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1) for output in outputs]


def main() -> None:
    folder, inputs, outputs, cases = sys.argv[1:]
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    frames = torch.load(inputs)
    torch.save([paint(pipe, frames, case) for case in json.loads(cases)], outputs)


main()

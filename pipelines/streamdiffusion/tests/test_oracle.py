"""Pictures are those of PyPI's streamdiffusion, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from streamdiffusion_pipeline.painter import Painter
from streamdiffusion_pipeline.params import StreamDiffusionParams

from .conftest import TinyModels

ORACLE = Path(sys.prefix) / "streamdiffusion"

COMMON = {"prompt": "a red fox", "negative_prompt": "blurry", "guidance_scale": 1.0, "delta": 0.7, "seed": 5}
CASES: dict[str, dict[str, Any]] = {
    "1 step": {"t_index_list": [32], "cfg_type": "none"},
    "1 step with guidance": {"t_index_list": [32], "cfg_type": "self", "guidance_scale": 1.4},
    "3 steps": {"t_index_list": [12, 20, 32], "cfg_type": "none"},
    "3 steps with guidance": {"t_index_list": [12, 20, 32], "cfg_type": "self", "guidance_scale": 1.4},
    "3 steps, guided by one prediction": {
        "t_index_list": [12, 20, 32],
        "cfg_type": "initialize",
        "guidance_scale": 1.4,
    },
    "3 steps, guided by all predictions": {"t_index_list": [12, 20, 32], "cfg_type": "full", "guidance_scale": 2.0},
}


@pytest.fixture(scope="module")
def expected(models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[torch.Tensor]]:
    if not (ORACLE / "streamdiffusion").is_dir():
        pytest.skip(f"streamdiffusion 0.1.1 is not in {ORACLE}: make test installs it")
    folder = tmp_path_factory.mktemp("oracle")
    torch.save(inputs(), folder / "inputs.pt")
    cases = json.dumps([{**COMMON, **case} for case in CASES.values()])
    command = [sys.executable, str(Path(__file__).with_name("oracle.py")), str(models.sd)]
    subprocess.run(
        [*command, str(folder / "inputs.pt"), str(folder / "outputs.pt"), cases],
        env={**os.environ, "PYTHONPATH": str(ORACLE)},
        check=True,
        capture_output=True,
        timeout=100,
    )
    return dict(zip(CASES, torch.load(folder / "outputs.pt"), strict=True))


def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(1, 64, 64, 3, generator=generator) for _ in range(8)]


class TestAgainstTheOracle:
    @pytest.mark.parametrize("name", CASES)
    def test_every_picture_is_equal(
        self, name: str, models: TinyModels, expected: dict[str, list[torch.Tensor]]
    ) -> None:
        case = {**COMMON, **CASES[name]}
        painter = Painter.load(StreamDiffusionParams(**models.params(use_tiny_vae=False, **case)))
        latency = len(case["t_index_list"]) - 1
        painted = [picture for frame in inputs() for picture, _ in painter.paint(frame, None)]
        assert len(painted) == len(inputs()) - latency
        for index, picture in enumerate(painted):
            assert torch.equal(picture, expected[name][index + latency]), f"picture {index}"

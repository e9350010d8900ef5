"""The console script, by the network's own way: health, a stream by trickle, params, the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.testing import EntrypointContract
from streamdiffusion_pipeline.tiny_model import write_tiny_model
from streamdiffusion_runner.main import pipeline_spec

PATIENT_HOST = Path(__file__).parents[3] / "runner" / "tests" / "patient_host"


class TestRunner(EntrypointContract):
    command = ("streamdiffusion-runner",)
    model_id = "streamdiffusion"
    pictures = 6
    patience_s = 110.0  # diffusers is imported first
    bad_params = ({"t_index_list": [50]},)

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _tiny(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        model = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
        params: dict[str, Any] = {"model_id": str(model), "width": 64, "height": 64, "t_index_list": [20, 32]}
        cls.params = params
        cls.environment = {
            "STREAMDIFFUSION_PARAMS": json.dumps({**params, "controlnets": [], "acceleration": "none"}),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PATIENT_HOST),
        }
        cls.live_params = [{**params, "prompt": "a red fox", "guidance_scale": 1.2}]


class TestName:
    @pytest.mark.parametrize(
        ("subvariant", "name", "model"),
        [
            ("", "streamdiffusion", "stabilityai/sd-turbo"),
            ("sd15-v2v", "streamdiffusion-sd15-v2v", "Lykon/dreamshaper-8"),
            ("sdxl", "streamdiffusion-sdxl", "stabilityai/sdxl-turbo"),
        ],
    )
    def test_the_subvariant_is_part_of_it_and_picks_the_model(self, subvariant: str, name: str, model: str) -> None:
        spec = pipeline_spec({"SUBVARIANT": subvariant})
        assert (spec.name, spec.initial_params["model_id"]) == (name, model)

    def test_a_variable_that_cannot_be_gives_a_message_and_an_exit_code(self) -> None:
        script = str(Path(sys.executable).with_name("streamdiffusion-runner"))
        result = subprocess.run([script], env={"SUBVARIANT": "sd3"}, capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert result.stderr.startswith("error: SUBVARIANT=sd3: there is no such set; there are sdturbo, sd15")

"""The runner's contract suite, over this pipeline with a tiny model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.live.pipelines import PipelineSpec
from runner.testing import PipelineContract

from .conftest import TinyModels


class TestContract(PipelineContract):
    frames = 6
    patience_s = 110.0

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _tiny(cls, models: TinyModels) -> Any:
        """Name the model that was made for this run, also to `prepare_models`."""
        params = models.params()
        cls.spec = PipelineSpec(
            name="streamdiffusion",
            pipeline_cls="streamdiffusion_pipeline.pipeline:StreamDiffusion",
            params_cls="streamdiffusion_pipeline.params:StreamDiffusionParams",
            initial_params=params,
        )
        cls.live_params = [
            {**params, "prompt": [["a red fox", 0.5], ["the sea", 0.5]], "seed": [[1, 0.5], [2, 0.5]]},
            {**params, "guidance_scale": 1.5, "cfg_type": "full", "t_index_list": [10, 40]},
            {**params, "skip_diffusion": True},
        ]
        cls.reload_params = [{**params, "model_id": str(models.other)}, {**params, "vae_id": str(models.vae)}]
        cls.bad_params = [
            {**params, "prompt": 5},
            {**params, "t_index_list": [3, 2]},
            {**params, "no_such": 1},
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STREAMDIFFUSION_PARAMS", json.dumps({**params, "controlnets": []}))
            yield

    @pytest.mark.usefixtures("proof_here")
    def test_prepare_models_can_run_twice(self) -> None:
        super().test_prepare_models_can_run_twice()

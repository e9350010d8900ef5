"""The pipeline keeps what every pipeline promises; its entrypoint serves streams of the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.live.pipelines import PipelineSpec
from runner.testing import EntrypointContract, PipelineContract

from .running_double import DOUBLE, RunningDouble
from .workflows import INVERT, chain, node

PATIENT_HOST = Path(__file__).parents[3] / "runner" / "tests" / "patient_host"
SIZE = {"width": 64, "height": 64}
BRIGHT = chain(node("Brightness", "Light", factor=1.0, channel="all", negative=False, note=""))


class TestPipeline(PipelineContract):
    spec = PipelineSpec(
        name="comfyui",
        pipeline_cls="comfyui_pipeline.pipeline:ComfyUI",
        params_cls="comfyui_pipeline.params:ComfyUIParams",
        initial_params=SIZE,
    )
    exact = True
    live_params = (
        {**SIZE, "prompt": BRIGHT},
        {**SIZE, "prompt": BRIGHT, "inputs": {"Light.factor": 0.5}},
        {**SIZE, "prompt": INVERT},
    )
    bad_params = (
        {**SIZE, "width": 100},
        {**SIZE, "prompt": "{"},
        {**SIZE, "prompt": chain(node("NoSuchNode"))},
        {**SIZE, "inputs": {"7.text": "a fox"}},
    )

    @pytest.fixture(autouse=True, scope="class")
    def _server(self, double: RunningDouble) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COMFYUI_URL", double.url)
            yield


class TestRunner(EntrypointContract):
    command = ("comfyui-runner",)
    model_id = "comfyui"
    exact = True
    live_params = ({"prompt": INVERT},)
    bad_params = ({"prompt": {"nodes": []}}, {"server_url": "http://127.0.0.1:1", "width": 100})

    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = super().folder(tmp_path_factory)
        self.environment = {
            "COMFYUI_FOLDER": str(DOUBLE),
            "COMFYUI_ARGS": f"--base-directory {folder / 'base'}",
            "PYTHONPATH": str(PATIENT_HOST),
        }
        return folder


def test_the_entrypoint_lets_no_stream_choose_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from comfyui_pipeline.errors import SettingsError
    from comfyui_pipeline.params import ComfyUIParams
    from comfyui_pipeline.settings import DEFAULT_URL, ServerChoice
    from comfyui_runner import main

    monkeypatch.setattr(main, "start_app", lambda _pipeline: None)
    monkeypatch.setenv("COMFYUI_URL", "")  # what is set from here on is taken back at the end
    main.main()
    assert os.environ["COMFYUI_URL"] == DEFAULT_URL
    with pytest.raises(SettingsError, match="not by params"):
        ServerChoice.choose(ComfyUIParams(folder="/tmp"), os.environ)

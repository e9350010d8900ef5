"""Parameters, settings and addresses: what is taken, what is refused, and that no secret is shown."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from comfyui_pipeline.address import ServerAddress
from comfyui_pipeline.errors import SettingsError
from comfyui_pipeline.params import DEFAULT_WORKFLOW, ComfyUIParams
from comfyui_pipeline.settings import DEFAULT_URL, ServerChoice
from runner.errors import ParamsError
from runner.live.pipelines.loader import parse_params

from .running_double import DOUBLE
from .workflows import INVERT

pytestmark = pytest.mark.quick


class TestParams:
    def test_without_a_word_pictures_pass_through(self) -> None:
        for params in ({}, {"prompt": ""}, {"prompts": ""}):
            assert ComfyUIParams(**params).prompt == DEFAULT_WORKFLOW

    @pytest.mark.parametrize(
        ("params", "reason"),
        [
            ({"prompt": "not json"}, "the workflow is not JSON"),
            ({"prompt": "[]"}, "a workflow is a JSON object, this is an array"),
            ({"prompt": {"nodes": [], "links": []}}, r"in the format of ComfyUI's editor; export it .* Export \(API\)"),
            ({"prompt": {"1": {"inputs": {}}}}, "node 1 has no class_type"),
            ({"prompt": {"1": {"class_type": "A", "inputs": []}}}, "inputs of node 1 are no object"),
            ({"prompt": {}}, "has no nodes"),
            ({"prompts": [INVERT, INVERT]}, "one workflow runs at a time, 2 are given"),
            ({"prompt": INVERT, "prompts": [INVERT]}, "the same thing"),
            ({"server_url": "localhost:8188"}, "must be http or https"),
            ({"server_url": "http://me:pw@localhost"}, "params are public: set COMFYUI_URL"),
            ({"inputs": {"1.seed": [1]}}, "inputs"),
            ({"unknown": 1}, "unknown"),
            ({"width": 2112}, "width"),
        ],
    )
    def test_what_cannot_be_is_refused_with_the_way_out(self, params: dict[str, Any], reason: str) -> None:
        with pytest.raises(ParamsError, match=reason):
            parse_params(ComfyUIParams, params)

    def test_a_refusal_does_not_repeat_a_whole_workflow(self) -> None:
        with pytest.raises(ParamsError) as raised:
            parse_params(ComfyUIParams, {"prompt": {str(number): {} for number in range(1000)}})
        assert len(str(raised.value)) < 500

    def test_the_output_has_the_size_that_is_said(self) -> None:
        assert ComfyUIParams(width=64, height=128).get_output_resolution() == (64, 128)
        assert ComfyUIParams(width=64, height=128, output_width=200).get_output_resolution() == (200, 128)

    def test_the_module_loads_neither_torch_nor_aiohttp_nor_numpy(self) -> None:
        code = "import comfyui_pipeline.params, comfyui_pipeline.settings, sys; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert {"torch", "aiohttp", "numpy", "PIL"}.isdisjoint(loaded)


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "url", "loopback"),
        [
            ("http://127.0.0.1:8188/", "http://127.0.0.1:8188", True),
            ("https://someone:p%40ss@gpu.example/comfy/", "https://gpu.example/comfy", False),
            ("http://[::1]:8188", "http://[::1]:8188", True),
            ("http://localhost", "http://localhost", True),
            ("http://localhost.example", "http://localhost.example", False),
        ],
    )
    def test_credentials_are_kept_apart(self, text: str, url: str, loopback: bool) -> None:
        address = ServerAddress.parse(text)
        assert (address.url, address.is_loopback) == (url, loopback)
        assert "p@ss" not in f"{address} {address!r}"
        assert (address.user, address.password) == (("someone", "p@ss") if "@" in text else ("", ""))

    @pytest.mark.parametrize(
        "text",
        ["file:///etc/passwd", "127.0.0.1:8188", "http://", "http://a:b", "http://a?x=1", "http://a#b", "http://a b"],
    )
    def test_what_is_no_address_of_a_server_is_refused(self, text: str) -> None:
        with pytest.raises(SettingsError):
            ServerAddress.parse(text)

    @pytest.mark.parametrize("text", ["http://u:secret@a:b", "http://u:secret@a?x", "ftp://u:secret@a"])
    def test_a_refusal_does_not_repeat_the_credentials(self, text: str) -> None:
        with pytest.raises(SettingsError) as raised:
            ServerAddress.parse(text)
        assert "secret" not in str(raised.value)


class TestServerChoice:
    def test_the_usual_address_is_taken_where_nothing_is_said(self) -> None:
        choice = ServerChoice.choose(ComfyUIParams(), {})
        assert (str(choice.address), choice.folder) == (DEFAULT_URL, None)

    def test_params_name_a_server_where_the_environment_names_none(self) -> None:
        choice = ServerChoice.choose(ComfyUIParams(server_url="http://127.0.0.1:9"), {})
        assert str(choice.address) == "http://127.0.0.1:9"

    @pytest.mark.parametrize("name", ["COMFYUI_FOLDER", "COMFY_UI_WORKSPACE"])
    def test_a_folder_is_taken_by_either_name(self, name: str) -> None:
        choice = ServerChoice.choose(ComfyUIParams(), {name: str(DOUBLE), "COMFYUI_ARGS": "--cpu --note 'a b'"})
        assert choice.folder is not None
        assert choice.folder.path == DOUBLE
        assert choice.folder.arguments == ("--cpu", "--note", "a b")

    @pytest.mark.parametrize("params", [{"server_url": "http://127.0.0.1:9"}, {"folder": str(DOUBLE)}])
    @pytest.mark.parametrize("variable", ["COMFYUI_URL", "COMFYUI_FOLDER"])
    def test_params_cannot_change_what_the_environment_says(self, params: dict[str, str], variable: str) -> None:
        value = "http://127.0.0.1:1" if variable == "COMFYUI_URL" else str(DOUBLE)
        with pytest.raises(SettingsError, match="not by params"):
            ServerChoice.choose(ComfyUIParams(**params), {variable: value})

    def test_secrets_are_not_shown(self) -> None:
        environ = {"COMFYUI_URL": "http://u:secret@127.0.0.1", "COMFYUI_TOKEN": "hidden"}
        text = repr(ServerChoice.choose(ComfyUIParams(), environ))
        assert "secret" not in text
        assert "hidden" not in text

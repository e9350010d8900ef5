"""Tiny models with random weights, made once and loaded as real ones are."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before huggingface_hub is imported anywhere: tests never ask the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from streamdiffusion_pipeline import proof
from streamdiffusion_pipeline.tiny_model import (
    write_hub_cache,
    write_tiny_controlnet,
    write_tiny_ip_adapter,
    write_tiny_lora,
    write_tiny_model,
    write_tiny_vae,
)

torch.set_num_threads(1)


@dataclass(frozen=True)
class TinyModels:
    """Folders in diffusers' layout, and a hub cache in which stabilityai/sd-turbo is one of them."""

    sd: Path
    other: Path
    sdxl: Path
    v_prediction: Path
    vae: Path
    controlnet: Path
    lora: Path
    ip_adapter: Path
    cache: Path

    def params(self, **params: Any) -> dict[str, Any]:
        """The smallest params that work: 64 x 64, one of the models in a folder."""
        return {"model_id": str(self.sd), "width": 64, "height": 64, **params}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    folder = tmp_path_factory.mktemp("models")
    tiny = TinyModels(
        sd=write_tiny_model(folder / "sd"),
        other=write_tiny_model(folder / "other", seed=7),
        sdxl=write_tiny_model(folder / "sdxl", "sdxl"),
        v_prediction=write_tiny_model(folder / "v", prediction_type="v_prediction"),
        vae=write_tiny_vae(folder / "vae"),
        controlnet=folder / "controlnet",
        lora=folder / "lora",
        ip_adapter=folder / "ip_adapter",
        cache=folder / "cache",
    )
    write_tiny_controlnet(tiny.controlnet, tiny.sd)
    write_tiny_lora(tiny.lora, tiny.sd)
    write_tiny_ip_adapter(tiny.ip_adapter, tiny.sd)
    write_hub_cache(tiny.cache, "stabilityai/sd-turbo", tiny.sd)
    write_hub_cache(tiny.cache, "madebyollin/taesd", tiny.vae)
    return tiny


@pytest.fixture
def hub_cache(models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a container whose models were prepared."""
    monkeypatch.setenv("HF_HUB_CACHE", str(models.cache))
    return models.cache


@pytest.fixture
def pictures() -> list[torch.Tensor]:
    """Ten different inputs, (1, 64, 64, 3) in [0, 1]."""
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(1, 64, 64, 3, generator=generator) for _ in range(10)]


@pytest.fixture
def proof_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the proof of a preparation in this process, which has imported diffusers; `TestPrepare` has one in its own."""

    def run(command: list[str], *, input: str, **_: Any) -> subprocess.CompletedProcess[str]:
        assert command == [sys.executable, "-m", proof.__name__]
        said = io.StringIO()
        with contextlib.redirect_stderr(said), monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(input))
            code = proof.main()
        return subprocess.CompletedProcess(command, code, "", said.getvalue())

    monkeypatch.setattr("streamdiffusion_pipeline.prepare.subprocess.run", run)

"""The double of the ComfyUI server for tests: one for all of them, own ones, and one that is started as a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .running_double import DOUBLE, RunningDouble, start_double, stop_double

SETTINGS = ("COMFYUI_URL", "COMFYUI_FOLDER", "COMFYUI_PYTHON", "COMFYUI_ARGS", "COMFYUI_TOKEN", "COMFY_UI_WORKSPACE")

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDouble]:
    """The double with our nodes, for all tests that leave it alive."""
    running = start_double(tmp_path_factory.mktemp("comfyui"))
    yield running
    stop_double(running)


@pytest.fixture
def own_double(tmp_path: Path) -> Iterator[Callable[..., RunningDouble]]:
    """Starts doubles that a test may kill."""
    started: list[RunningDouble] = []

    def start(**more: Any) -> RunningDouble:
        started.append(start_double(tmp_path / f"comfyui-{len(started)}", **more))
        return started[-1]

    yield start
    for running in started:
        stop_double(running)


@pytest.fixture(autouse=True, scope="session")
def _no_settings() -> Iterator[None]:
    """Without what a person may have set for servers of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def managed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment that has the double started as a folder; where it keeps its files."""
    base = tmp_path / "base"
    monkeypatch.setenv("COMFYUI_FOLDER", str(DOUBLE))
    monkeypatch.setenv("COMFYUI_ARGS", f"--base-directory {base}")
    return base

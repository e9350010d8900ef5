"""``scope-runner`` by streams of the network, over the double of Scope."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import MappingProxyType

from runner.testing import EntrypointContract
from runner.testing.served_process import environment, find_command

DOUBLE = Path(__file__).parents[2] / "scope" / "tests" / "data" / "scope_double"
PATIENT_HOST = Path(__file__).parents[3] / "runner" / "tests" / "patient_host"
SIZE = {"width": 128, "height": 128}


class TestScopeRunner(EntrypointContract):
    command = ("scope-runner",)
    model_id = "scope"
    environment = MappingProxyType({"PYTHONPATH": f"{DOUBLE}{os.pathsep}{PATIENT_HOST}", "SCOPE_PIPELINE": "gray"})
    params = SIZE
    live_params = ({**SIZE, "strength": 0.5},)
    bad_params = ({**SIZE, "strength": 2}, {**SIZE, "pipeline": "grey"})


def prepare(folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*find_command(["scope-runner"]), "--prepare-models"],
        env=environment(folder, environ),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_without_scope_no_models_can_be_prepared_and_the_reason_is_told(tmp_path: Path) -> None:
    result = prepare(tmp_path, {})
    assert result.returncode == 1
    assert "Daydream Scope is not installed" in result.stderr
    assert "Traceback" not in result.stderr


def test_models_of_the_pipeline_that_the_environment_names_are_prepared_without_a_gpu(tmp_path: Path) -> None:
    """So far as that goes: the hub is not there."""
    result = prepare(tmp_path, {"PYTHONPATH": str(DOUBLE), "SCOPE_PIPELINE": "longlive", "DOUBLE_HUB": "/nowhere"})
    assert result.returncode == 1
    assert "artifact Wan-AI/Wan2.1-T2V-1.3B of Scope pipeline 'longlive' could not be fetched" in result.stderr

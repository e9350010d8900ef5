"""``scope-runner`` by streams of the network, over the double of Scope."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import MappingProxyType

import pytest

from runner.testing import EntrypointContract
from runner.testing.served_process import environment, find_command

DOUBLE = Path(__file__).parents[2] / "scope" / "tests" / "data" / "scope_double"
SIZE = {"width": 128, "height": 128}


class TestScopeRunner(EntrypointContract):
    command = ("scope-runner",)
    model_id = "scope"
    environment = MappingProxyType({"PYTHONPATH": str(DOUBLE), "SCOPE_PIPELINE": "gray"})
    params = SIZE
    live_params = ({**SIZE, "strength": 0.5},)
    bad_params = ({**SIZE, "strength": 2}, {**SIZE, "pipeline": "grey"})


class TestWithoutScope:
    def test_models_cannot_be_prepared_and_the_reason_is_told(self, tmp_path: Path) -> None:
        result = subprocess.run(
            [*find_command(["scope-runner"]), "--prepare-models"],
            env=environment(tmp_path, {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 1
        assert "Daydream Scope is not installed" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("pipeline", ["passthrough", "longlive"])
def test_models_are_prepared_for_the_pipeline_that_the_environment_names(tmp_path: Path, pipeline: str) -> None:
    """One has none; the other needs a GPU to run, but not for this, and here a hub that is not there."""
    environ = {"PYTHONPATH": str(DOUBLE), "SCOPE_PIPELINE": pipeline, "DOUBLE_HUB": str(tmp_path / "hub")}
    result = subprocess.run(
        [*find_command(["scope-runner"]), "--prepare-models"],
        env=environment(tmp_path, environ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = {"passthrough": (0, "0 of 0 artifacts"), "longlive": (1, "artifact Wan-AI/Wan2.1-T2V-1.3B of Scope")}
    code, said = expected[pipeline]
    assert result.returncode == code, result.stderr
    assert said in result.stderr

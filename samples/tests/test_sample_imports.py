from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, entry_points, files

import pytest

HEAVY = ["torch", "cv2", "numpy", "av", "textual", "mediapipe"]
NAMES = ["background_blur", "cartoon", "edges", "face_privacy", "flow_trails", "posterize"]


def loaded_by(module: str) -> set[str]:
    """Which of the heavy modules a fresh interpreter has after importing `module`."""
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize("name", NAMES)
def test_a_params_module_is_light(name: str) -> None:
    assert loaded_by(f"ai_runner_samples.{name}.params") == set()


def test_the_package_and_its_videos_import_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import ai_runner_samples.videos; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {"ai_runner_samples", "ai_runner_samples.videos"}


@pytest.mark.parametrize(("name", "others"), [("edges", {"cv2"}), ("posterize", {"cv2", "av"})])
def test_torch_samples_need_only_torch(name: str, others: set[str]) -> None:
    assert not loaded_by(f"ai_runner_samples.{name}.pipeline") & others


def test_the_studio_finds_what_the_package_declares() -> None:
    try:
        files("ai-runner-samples")
    except PackageNotFoundError:
        pytest.skip("ai-runner-samples is on the path but not installed: entry points exist only when it is")
    (videos,) = entry_points(group="ai_runner_studio.samples", name="videos")
    assert videos.value == "ai_runner_samples.videos"
    points = entry_points(group="ai_runner_studio.pipelines")
    pipelines = [point for point in points if point.value.startswith("ai_runner_samples.")]
    assert {point.name for point in pipelines} == set(NAMES)
    assert all(callable(point.load()) for point in pipelines)

"""What counts as a change of the project's dependencies, and what is advised then."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.reload.dependencies import Dependencies

PROJECT = """
[project]
name = "effects"
version = "1"
dependencies = ["numpy>=1.24", "torch"]

[project.optional-dependencies]
test = ["pytest"]

[tool.ruff]
line-length = 100

[tool.ai-runner-studio]
input = "bunny"
"""
SETTINGS_CHANGED = "[tool.ai-runner-studio] in pyproject.toml has changed: start the studio again for it"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "effects"
    folder.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


def looking(folder: Path) -> Dependencies:
    found = Dependencies(folder)
    assert found.look() == []
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"torch"', '"torch", "einops"'),
        ('"pytest"', '"pytest>=8"'),
        ("[tool.ruff]", '[build-system]\nrequires = ["hatchling"]\n[tool.ruff]'),
        ("[tool.ruff]", '[dependency-groups]\ndev = ["ipython"]\n[tool.ruff]'),
        ("[tool.ruff]", '[tool.uv.sources]\ntorch = { index = "cpu" }\n[tool.ruff]'),
        ("[tool.ruff]", '[tool.poetry.group.dev.dependencies]\nipython = "*"\n[tool.ruff]'),
    ],
)
def test_a_changed_dependency_table_is_told_once(project: Path, old: str, new: str) -> None:
    dependencies = looking(project)
    (project / "pyproject.toml").write_text(PROJECT.replace(old, new, 1))
    assert dependencies.look() == [
        "pyproject.toml asks for other dependencies now: install them (pip install -e .), then press R"
    ]
    assert dependencies.look() == []


@pytest.mark.parametrize(
    "text",
    [
        PROJECT.replace("100", "120"),
        PROJECT.replace('"1"', '"2"'),
        "# the best of effects\n" + PROJECT,
        PROJECT.replace('["numpy>=1.24", "torch"]', '[\n    "numpy>=1.24",  # arrays\n    "torch",\n]'),
        PROJECT + "\n[half written",
        "",
    ],
    ids=["another tool", "version", "comment", "layout", "half-written", "truncated"],
)
def test_other_changes_are_not_told(project: Path, text: str) -> None:
    dependencies = looking(project)
    (project / "pyproject.toml").write_text(text)
    assert dependencies.look() == []
    (project / "pyproject.toml").write_text(PROJECT)
    assert dependencies.look() == []


def test_changed_settings_of_the_studio_are_told(project: Path) -> None:
    dependencies = looking(project)
    (project / "pyproject.toml").write_text(PROJECT.replace("bunny", "webcam"))
    assert dependencies.look() == [SETTINGS_CHANGED]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("uv.lock", "uv sync"),
        ("poetry.lock", "poetry install"),
        ("pdm.lock", "pdm install"),
        ("requirements.txt", "pip install -r requirements.txt"),
        ("requirements-gpu.txt", "pip install -r requirements-gpu.txt"),
        ("environment.yml", "conda env update -f environment.yml"),
    ],
)
@pytest.mark.parametrize("place", ["project", "repository"])
def test_other_files_that_name_dependencies_come_with_their_command(
    project: Path, name: str, command: str, place: str
) -> None:
    file = (project if place == "project" else project.parent) / name
    file.write_text("numpy\n")
    dependencies = looking(project)
    file.write_text("# arrays\nnumpy\n\n")
    assert dependencies.look() == []
    file.write_text("numpy\ntorch\n")
    assert dependencies.look() == [f"{name} asks for other dependencies now: install them ({command}), then press R"]


def test_project_and_lock_together_are_one_sentence_with_the_locks_command(project: Path) -> None:
    (project / "uv.lock").write_text("version = 1\n")
    dependencies = looking(project)
    (project / "uv.lock").write_text("version = 2\n")
    (project / "pyproject.toml").write_text(PROJECT.replace("torch", "jax").replace("bunny", "webcam"))
    assert dependencies.look() == [
        "pyproject.toml and uv.lock ask for other dependencies now: install them (uv sync), then press R",
        SETTINGS_CHANGED,
    ]


def test_nothing_above_the_repository_counts_and_without_one_only_the_folder_itself(project: Path) -> None:
    assert Dependencies(project).folders == [project, project.parent]
    (project.parent / ".git").rmdir()
    assert Dependencies(project).folders == [project]


@pytest.mark.parametrize(
    ("name", "expected"), [("pyproject.toml", True), ("requirements-dev.txt", True), ("a.py", False), ("a.txt", False)]
)
def test_names_are_told_apart_without_a_look(project: Path, name: str, expected: bool) -> None:
    assert Dependencies(project).may_be(str(project / name)) is expected

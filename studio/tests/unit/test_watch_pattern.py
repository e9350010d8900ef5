"""What ``--watch`` names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.reload import watch_pattern
from ai_runner_studio.reload.watch_pattern import WatchPattern

FILES = (
    "a.py",
    "a.glsl",
    "deep/b.glsl",
    "deep/er/c.glsl",
    "deep/.b.glsl.swp",
    ".git/config.glsl",
    "__pycache__/a.glsl",
    "env/pyvenv.cfg",
    "env/d.glsl",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(project: Path, text: str) -> list[str]:
    return [str(path.relative_to(project)) for path in WatchPattern.parse(text, project).find().files]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.py", ["a.py"]),
        ("not_yet.txt", ["not_yet.txt"]),
        ("*.glsl", ["a.glsl"]),
        ("?.[pg]*", ["a.glsl", "a.py"]),
        ("[!b].py", ["a.py"]),
        ("**/*.glsl", ["a.glsl", "deep/b.glsl", "deep/er/c.glsl"]),
        ("deep/*/*.glsl", ["deep/er/c.glsl"]),
        ("deep", ["deep/b.glsl", "deep/er/c.glsl"]),
    ],
)
def test_files_folders_and_globs(project: Path, text: str, expected: list[str]) -> None:
    assert names(project, text) == expected


def test_an_absolute_pattern_is_taken_as_it_is(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert WatchPattern.parse(f"{project}/*.py", elsewhere).find().files == (project / "a.py",)


def test_folders_are_given_so_that_new_files_are_seen(project: Path) -> None:
    assert set(WatchPattern.parse("deep/**/*.x", project).find().folders) == {project / "deep", project / "deep/er"}


def test_a_folder_that_is_not_there_yet_is_given_too(project: Path) -> None:
    found = WatchPattern.parse("later/**/*.glsl", project).find()
    assert (found.files, found.folders) == ((), (project / "later",))


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("*.json", "a.json", True),
        ("*.json", "deep/a.json", False),
        ("**/*.json", "deep/a.json", True),
        ("*", "a.json~", False),
        ("a.json", "a.json", True),
        ("deep/*", "a.json", False),
    ],
)
def test_one_path_is_told_apart_without_a_search(project: Path, text: str, path: str, expected: bool) -> None:
    assert WatchPattern.parse(text, project).matches(project / path) is expected


def test_a_data_set_is_cut(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_pattern, "MOST_FOLDERS", 1)
    found = WatchPattern.parse("**", project).find()
    assert found.cut
    assert found.folders == (project,)

"""The project's folder keeps the name by which it was entered."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from runner.live.project_folder import enter_project, name_project, named_folder, put_project_first


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A link to a folder that is the current one."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
    link = tmp_path / "current"
    link.symlink_to("one")
    monkeypatch.chdir(link)
    monkeypatch.setenv("AI_RUNNER_PROJECT_FOLDER", "")
    monkeypatch.setattr(sys, "path", [os.getcwd(), *sys.path])
    return link


def test_a_link_that_leads_elsewhere_is_followed(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", str(current))
    name_project()
    assert sys.path[-1] == str(current), "the host looks there last"
    put_project_first()
    assert sys.path[0] == str(current), "a pipeline process looks there first"
    assert str(current.parent / "one") not in sys.path
    current.unlink()
    current.symlink_to("two")
    enter_project()
    assert Path.cwd() == current.parent / "two"
    current.unlink()
    enter_project()  # to nowhere: the import says so
    assert Path.cwd() == current.parent / "two"


@pytest.mark.parametrize("name", ["", "current", "/", "/nowhere"])
def test_a_name_of_another_folder_does_not_count(current: Path, name: str) -> None:
    assert named_folder({"PWD": name}) == str(current.parent / "one")

"""Listing cameras from what Linux shows below /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.sources.cameras import cameras, can_list

pytestmark = pytest.mark.skipif(not can_list(), reason="cameras are listed on Linux only")


def add(system: Path, number: int, name: str) -> None:
    entry = system / f"video{number}"
    entry.mkdir(parents=True)
    (entry / "name").write_text(f"{name}\n")


def test_they_come_by_number_with_their_names_and_what_is_wrong(tmp_path: Path) -> None:
    for number, name in ((10, "Late"), (2, "Early")):
        add(tmp_path / "sys", number, name)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "video10").touch()  # a file answers no ioctl, as a busy or broken device would not
    early, late = cameras(tmp_path / "sys", tmp_path / "dev")
    assert (early.input, early.name, early.problem) == ("webcam:2", "Early", "No such file or directory")
    assert (late.input, late.name) == ("webcam:10", "Late")
    assert "ioctl" in late.problem


def test_without_any_there_are_none(tmp_path: Path) -> None:
    assert cameras(tmp_path, tmp_path) == []

"""Commands that run a module of ours in a folder whose files are named like ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.module_command import module_command

BROKEN = "raise SystemExit('the file of the folder was imported')\n"


@pytest.mark.parametrize("pythonpath", [None, "."])
def test_files_of_the_folder_do_not_shadow_ours_nor_the_standard_librarys(
    tmp_path: Path, pythonpath: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("runner", "queue", "types", "argparse"):
        (tmp_path / f"{name}.py").write_text(BROKEN)
    if pythonpath:
        monkeypatch.setenv("PYTHONPATH", pythonpath)
    command = [*module_command(sys.executable, "runner.live.infer"), "--help"]
    if pythonpath:  # Python itself reads some of the standard library before any of our code
        for name in ("queue", "types", "argparse"):
            (tmp_path / f"{name}.py").unlink()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m runner.live.infer")


def test_arguments_and_the_exit_code_are_those_of_the_module(tmp_path: Path) -> None:
    command = [*module_command(sys.executable, "runner.live.infer"), "--nonsense"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("unrecognized arguments: --nonsense\n")

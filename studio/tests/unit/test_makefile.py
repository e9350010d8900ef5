"""The first `make demo` shows what takes minutes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_first_demo_says_that_it_installs_and_pip_shows_its_progress(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "demo", f"VENV={tmp_path / 'new'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    installs = [number for number, line in enumerate(lines) if "pip install" in line]
    assert len(installs) == 2
    assert not [lines[number] for number in installs if {"-q", "--quiet"} & set(lines[number].split())]
    assert any(line.startswith('echo "Installing') for line in lines[: installs[0]])

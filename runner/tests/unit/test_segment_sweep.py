"""Segments of an owner that was killed, where segments are files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runner.live.process.segment import sweep_segments

_LEAVE_ONE = """
import os
del os.memfd_create
from runner.live.process.segment import Segment
print(Segment.create(4096).name, flush=True)
os.kill(os.getpid(), 9)
"""


def test_those_of_a_killed_owner_are_removed_and_those_of_a_living_one_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", _LEAVE_ONE], env=environment, capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.exists()
    mine = tmp_path / f"ai-runner-segment-{os.getpid()}-0"
    mine.touch()
    assert sweep_segments() == 1
    assert not left.exists()
    assert mine.exists()

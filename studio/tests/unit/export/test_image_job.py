"""ImageJob: what cannot be planned is told, and nothing stays on the disk; whole plans are in test_export_context.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ai_runner_studio.errors import StudioError
from ai_runner_studio.export.image_job import ImageJob
from ai_runner_studio.settings import Settings


async def test_an_interpreter_that_is_none_is_told_and_no_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    job = ImageJob(Settings(pipeline_import="mine:Mine", project=tmp_path, python="/bin/true"), told.append)
    assert [path.name.startswith("ai-runner-export-") for path in tmp_path.iterdir()] == [True]
    with pytest.raises(StudioError, match="/bin/true does not work as a Python"):
        await job.plan()
    await job.close()
    assert list(tmp_path.iterdir()) == []

"""A camera of our own, through the real V4L2 code: in `run`, and in the session that the screen shows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_runner_studio.session import Session
from ai_runner_studio.settings import Settings
from ai_runner_studio.snapshot import Snapshot

sys.path.append(str(Path(__file__).parents[3] / "runner/tests/unit/media"))

from fake_camera import FakeCamera

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is Linux's")

PATIENCE_S = 60.0


@pytest.fixture
def camera(tmp_path: Path) -> FakeCamera:
    (tmp_path / "camera").mkdir()
    return FakeCamera(tmp_path / "camera")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "effects.py").write_text("def invert(frame):\n    return 1 - frame\n")
    return tmp_path


def test_run_takes_what_the_camera_gives_and_ends_when_it_is_unplugged(camera: FakeCamera, project: Path) -> None:
    camera.set(sizes="640x480", fps=15, error=4, mjpeg=True, unplug=20)
    done = subprocess.run(
        [sys.executable, "-m", "ai_runner_studio", "run", "effects:invert", "-i", "webcam", "--frames", "99", "--json"],
        cwd=project,
        env=os.environ | camera.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["error"]["kind"] == "source"
    assert report["error"]["message"].startswith("camera /dev/video0")
    assert (report["input"]["width"], report["input"]["height"], report["input"]["fps"]) == (640, 480, 15.0)
    assert report["frames_out"] > 0


async def test_after_it_is_back_the_same_input_gives_frames_again(
    camera: FakeCamera, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in camera.environment.items():
        monkeypatch.setenv(name, value)  # of the host; this process does not see the camera
    monkeypatch.setattr("ai_runner_studio.sources.resolve.can_list", lambda: False)
    session = Session(Settings("effects:invert", input="webcam", project=project, reload=False))
    await session.start()
    try:
        await _until(session, lambda now: now.metrics.frames_out > 5)
        camera.set(state="stalled")
        silent = await _until(session, lambda now: now.metrics.silent_s > 0.4)
        assert silent.ended is None
        camera.set()
        await _until(session, lambda now: now.metrics.fps_out > 0 and not now.metrics.silent_s)
        camera.set(state="unplugged")
        ended = (await _until(session, lambda now: now.ended is not None)).ended
        assert ended is not None
        assert ended.error.startswith("camera /dev/video0")
        camera.set()
        await session.set_input(session.settings.input)  # what the key `r` does, which the banner names
        again = await _until(session, lambda now: now.metrics.frames_out > 5 and now.ended is None)
        assert again.error is None
    finally:
        await session.close()


async def _until(session: Session, condition: Callable[[Snapshot], bool]) -> Snapshot:
    deadline = time.monotonic() + PATIENCE_S
    while not condition(session.snapshot):
        assert time.monotonic() < deadline, session.snapshot
        await asyncio.sleep(0.02)
    return session.snapshot

"""A camera of our own, through the real V4L2 code: in `run`, and on the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import on_terminal

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


def test_the_screen_says_that_no_frames_come_and_its_key_resumes_after_the_camera_is_back(
    camera: FakeCamera, project: Path
) -> None:
    words = ("effects:invert", "--input", "webcam", "--no-reload", "--preview", "text")
    with on_terminal(*words, cwd=project, **camera.environment) as studio:
        assert studio.read_until(b"serves after")
        for state, said in (("stalled", b"no frame for"), ("plugged", b"serves after"), ("unplugged", b"broke off")):
            studio.written = b""
            camera.set(state=state)
            assert studio.read_until(said)
        assert studio.read_until(b"r again")
        studio.written = b""
        camera.set()
        os.write(studio.terminal, b"r")
        assert studio.read_until(b"serves after")
        os.write(studio.terminal, b"q")
        assert studio.wait() == 0

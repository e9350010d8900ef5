"""Cameras through FFmpeg's own V4L2 code, against a device of our own in one other process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .fake_camera import FakeCamera

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is Linux's")

# Answers each line on its standard input, a request as JSON, with a line about the stream.
READER = """
import asyncio, gc, importlib.util, json, os, sys
from runner.errors import SourceError
from runner.live.streamer.protocol import camera
from runner.live.streamer.protocol.local import LocalProtocol
from runner.live.streamer.protocol.protocol import StreamRequest

spec = importlib.util.spec_from_file_location("fake_camera", sys.argv[1])
fake_camera = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake_camera)

async def stream(size, patience_s, device, frames):
    camera._PATIENCE_S = patience_s
    seen = {"frames": 0, "good": 0, "error": "", "longest_silence_s": 0.0}
    protocol = LocalProtocol(StreamRequest(device, max_frames=frames))

    async def watch():
        while True:
            seen["longest_silence_s"] = max(seen["longest_silence_s"], protocol.silent_s)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        info = await protocol.open(*size)
        seen.update(size=[info.width, info.height], fps=info.fps, codec=info.codec)
        async for frame in protocol.frames():
            seen["frames"] += 1
            seen["good"] += fake_camera.is_ramp(frame.pixels)
            if seen["frames"] == 5:
                print(json.dumps({"under way": True}), flush=True)
    except SourceError as error:
        seen["error"] = str(error)
    finally:
        watching.cancel()
        await protocol.close()
    seen["decode_errors"] = protocol.damage.decode_errors
    return seen

for line in sys.stdin:
    print(json.dumps(asyncio.run(stream(**json.loads(line)))), flush=True)
    gc.collect()  # what a closed camera has left must not crash the process
os._exit(0)
"""

Look = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> FakeCamera:
    return FakeCamera(tmp_path_factory.mktemp("camera"))


@pytest.fixture(scope="module")
def reader(camera: FakeCamera) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(Path(__file__).with_name("fake_camera.py"))],
        env=os.environ | camera.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.fixture
def look(reader: subprocess.Popen[str]) -> Look:
    """Read some frames and return what was seen; `meanwhile` is called after the fifth."""

    def look(
        size: tuple[int, int] = (512, 512),
        frames: int = 12,
        patience_s: float = 60.0,
        device: str = "device:0",
        meanwhile: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        assert reader.stdin is not None
        assert reader.stdout is not None
        request = {"size": size, "frames": frames, "patience_s": patience_s, "device": device}
        reader.stdin.write(json.dumps(request) + "\n")
        reader.stdin.flush()
        seen: dict[str, Any] = json.loads(reader.stdout.readline())
        if "under way" in seen:
            meanwhile()
            seen = json.loads(reader.stdout.readline())
        return seen

    return look


@pytest.mark.parametrize("mjpeg", [False, True], ids=["yuyv", "mjpeg"])
@pytest.mark.parametrize("only", ["640x480", "1280x720", "1920x1080"])
def test_a_camera_may_answer_with_another_size(camera: FakeCamera, look: Look, only: str, mjpeg: bool) -> None:
    camera.set(sizes=only, mjpeg=mjpeg, fps=60)
    for size in ((512, 512), (1280, 720), (1920, 1080)):
        seen = look(size, frames=3)
        assert seen["size"] == [int(side) for side in only.split("x")]
        assert seen["codec"] == ("mjpeg" if mjpeg else "rawvideo")
        assert (seen["frames"], seen["good"], seen["error"]) == (3, 3, "")


def test_the_camera_says_its_rate(camera: FakeCamera, look: Look) -> None:
    camera.set(fps=15)
    seen = look()
    assert (seen["fps"], seen["frames"], seen["good"]) == (15.0, 12, 12)


@pytest.mark.parametrize("mjpeg", [False, True], ids=["yuyv", "mjpeg"])
def test_frames_with_the_error_flag_are_left_out(camera: FakeCamera, look: Look, mjpeg: bool) -> None:
    camera.set(error=3, mjpeg=mjpeg, fps=60)
    seen = look()
    assert (seen["frames"], seen["good"], seen["error"]) == (12, 12, "")
    assert seen["decode_errors"] >= 5


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("busy", "Camera /dev/video0 is in use by another program"),
        ("unplugged", "There is no camera /dev/video0"),
    ],
)
def test_a_camera_that_cannot_be_opened(camera: FakeCamera, look: Look, state: str, said: str) -> None:
    camera.set(state=state)
    assert said in look()["error"]


def test_unplugged_and_back(camera: FakeCamera, look: Look) -> None:
    camera.set()
    seen = look(frames=10_000, meanwhile=lambda: camera.set(state="unplugged"))
    assert seen["error"].startswith("camera /dev/video0")
    camera.set()
    assert look()["frames"] == 12


@pytest.mark.parametrize("sizes", ["640x480", "1280x720"])
def test_no_more_frames_without_an_error(camera: FakeCamera, look: Look, sizes: str) -> None:
    camera.set(sizes=sizes, stop=8)
    seen = look(patience_s=0.3)
    assert 0 < seen["frames"] <= 8  # a busy machine drops some
    assert "camera /dev/video0: no frame for 0.3 s" in seen["error"]
    assert seen["longest_silence_s"] > 0.1
    camera.set(sizes=sizes)  # which it is not while the stream before has it open
    seen = look()
    assert (seen["frames"], seen["error"]) == (12, "")


def test_a_pause_is_waited_out(camera: FakeCamera, look: Look) -> None:
    camera.set()

    def pause() -> None:
        camera.set(state="stalled")
        camera.set()

    seen = look(frames=20, meanwhile=pause)
    assert (seen["frames"], seen["good"], seen["error"]) == (20, 20, "")

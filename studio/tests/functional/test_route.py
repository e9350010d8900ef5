"""The trickle route between source and preview, with a real host: publisher, relay, runner, relay, subscriber."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ai_runner_studio.session import Session
from ai_runner_studio.settings import Settings

NOOP = "runner.live.pipelines.noop:Noop"
FRAMES, FPS = 36, 24
PATIENCE_S = 60.0
HOPS = {"encode", "relay, decode", "runner", "encode back", "relay, decode back", "total"}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second and a half of a picture that gets brighter, at the rate that production takes."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 160, 160, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((160, 160, 3), 20 + 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if "_IMPORT" not in key and "AI_RUNNER" not in key}
    return subprocess.run(
        [sys.executable, "-m", "ai_runner_studio", "run", NOOP, "--route", "trickle", *more],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def levels(path: Path) -> list[float]:
    """Mean level of each picture of a file."""
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]


class TestRun:
    def test_every_frame_that_was_sent_comes_back_or_is_accounted_for(self, clip: Path) -> None:
        done = run(clip.parent, "--input", "clip.mp4", "--output", "out.mp4", "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        route = report["route"]
        assert report["ok"]
        assert route["sent"] == FRAMES
        assert route["returned"] + sum(report["dropped"].values()) == FRAMES
        assert "lost" not in report["dropped"]
        assert "rate" not in report["dropped"]
        assert route["returned"] > FRAMES // 2
        assert set(route["hops_ms"]) == HOPS
        assert set(route["total_ms"]) == {"p50", "p95"}
        assert (route["max_fps"], route["encoder"] != "", route["decoder"] != "") == (24.0, True, True)

        came = levels(clip.parent / "out.mp4")
        assert len(came) == route["returned"]
        assert came == sorted(came)  # in their order, and the whole of the clip
        assert came[-1] - came[0] > 4 * FRAMES

    def test_a_person_reads_it_and_frames_limit_what_is_sent(self, clip: Path) -> None:
        done = run(clip.parent, "--input", "clip.mp4", "--frames", "12")
        assert done.returncode == 0, done.stderr
        assert "route: 12 frames sent, " in done.stdout
        assert "hops, median ms: encode " in done.stdout

    def test_an_input_that_cannot_be_opened_fails_as_without_it(self, clip: Path) -> None:
        (clip.parent / "text.mp4").write_text("no video")
        done = run(clip.parent, "--input", "text.mp4", "--json")
        assert done.returncode == 2
        report = json.loads(done.stdout)
        assert report["error"]["kind"] == "source"
        assert "text.mp4" in report["error"]["message"]


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    """A session that began without the route."""
    session = Session(Settings(NOOP, input="pattern:160x120@24", project=tmp_path, reload=False))
    await session.start()
    yield session
    await session.close()


async def until(session: Session, condition: Callable[[], Any]) -> None:
    async def wait() -> None:
        while not condition():
            await session.changed()

    await asyncio.wait_for(wait(), PATIENCE_S)


class TestSession:
    async def test_it_switches_to_the_route_and_back(self, session: Session) -> None:
        await until(session, lambda: session.snapshot.metrics.frames_out > 0)
        assert session.snapshot.metrics.route is None

        await session.set_route("trickle")
        assert (session.snapshot.route, session.settings.route) == ("trickle", "trickle")
        await until(session, lambda: (route := session.snapshot.metrics.route) and route.returned > 5)
        assert set(session.snapshot.metrics.route.hops_ms) == HOPS  # type: ignore[union-attr]
        assert session.output_tap.newest() is not None

        await session.set_route("direct")
        await until(session, lambda: session.snapshot.metrics.route is None and session.snapshot.metrics.frames_out > 0)
        assert session.snapshot.route == "direct"

    async def test_another_input_goes_the_same_way(self, session: Session) -> None:
        await session.set_route("trickle")
        await session.set_input("pattern:64x48@24")
        await until(session, lambda: (stream := session.snapshot.stream) and stream.source_width == 64)
        await until(session, lambda: (route := session.snapshot.metrics.route) and route.returned > 0)
        assert session.snapshot.stream is not None
        assert session.snapshot.stream.source_width == 64

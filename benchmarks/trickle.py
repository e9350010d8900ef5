"""What does the network's route cost? Frames in and out, latency by stage, CPU per frame.

    python -m benchmarks.trickle [--seconds 20] [--sizes 512x512,1280x720] [--fps 30]

A relay, a publisher and a viewer in this process; the runner host, with a pipeline that changes nothing, in
processes of its own, as in production: H.264 over trickle in and out, nothing left out for its frame rate. The same
harness without a runner (the viewer reads what the publisher sends) is measured beside it: the difference is what
the runner adds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import percentiles, publish

if TYPE_CHECKING:
    import aiohttp
    import psutil

    from runner.live.trickle.relay import TrickleRelay

WARM_UP_S = 3.0  # connections, encoders, the pipeline's first frames; not counted in latency and CPU
PASS_THROUGH = "runner.live.pipelines.noop:Noop"
PARAMS = """
from pydantic import Field
from runner.live.pipelines import BaseParams

class Params(BaseParams):
    width: int = Field(default={width}, ge=64)
    height: int = Field(default={height}, ge=64)
"""


class Viewer:
    """Publishes numbered pictures at a rate, and notes when each one comes back."""

    def __init__(self, session: aiohttp.ClientSession, size: tuple[int, int], fps: int) -> None:
        self.sent_ns: dict[int, int] = {}
        self.seen_ns: dict[int, int] = {}
        self._session = session
        self._size, self._fps = size, fps

    async def publish(self, url: str, frames: int) -> None:
        """Send them, in real time, and close the channel."""
        from runner.live.streamer.protocol.protocol import ProtocolStatistics
        from runner.live.streamer.protocol.trickle_output import MEDIA_TYPE, TrickleOutput
        from runner.live.trickle.frame import RawFrame
        from runner.live.trickle.pattern import TestPattern
        from runner.live.trickle.publisher import TricklePublisher

        pattern = TestPattern(*self._size, Fraction(self._fps))
        pictures = [pattern.picture(number) for number in range(2 * self._fps)]  # drawn before the clock runs
        output = TrickleOutput(TricklePublisher(url, MEDIA_TYPE, session=self._session), ProtocolStatistics())
        began = time.monotonic()
        try:
            for number in range(frames):
                await asyncio.sleep(max(0.0, began + number / self._fps - time.monotonic()))
                self.sent_ns[number] = time.monotonic_ns()
                pixels = pictures[number % len(pictures)]
                await output.put(RawFrame(pixels, number, Fraction(1, self._fps), number), None, self._fps)
        finally:
            await output.finish()

    async def watch(self, url: str) -> None:
        """Note what comes, by its presentation time, to the end of the channel."""
        from runner.live.streamer.protocol.protocol import ProtocolStatistics
        from runner.live.streamer.protocol.trickle_input import TrickleInput
        from runner.live.trickle.frame import RawFrame
        from runner.live.trickle.subscriber import TrickleSubscriber

        source = TrickleInput(
            TrickleSubscriber(url, session=self._session), *self._size, ProtocolStatistics(), policy="lossless"
        )
        try:
            while (frame := await source.get()) is not None:
                if isinstance(frame, RawFrame):
                    self.seen_ns[round(frame.pts * frame.time_base * self._fps)] = frame.stamps["captured"]
        finally:
            await source.close()

    def latencies_ms(self) -> list[float]:
        """Of each picture that came back, after the warm-up."""
        first = int(WARM_UP_S * self._fps)
        return [(at - self.sent_ns[n]) / 1e6 for n, at in self.seen_ns.items() if n >= first and n in self.sent_ns]


async def main(sizes: list[tuple[int, int]], fps: int, seconds: float) -> None:
    rows, stages = [], {}
    for size in sizes:
        name = f"{size[0]}x{size[1]}"
        without = await _without_runner(size, fps, seconds)
        row, found = await _with_runner(size, fps, seconds)
        added = row["p50 ms"] - without["p50"]
        rows.append({"size": name, **row, "harness p50 ms": without["p50"], "runner adds ms": round(added, 1)})
        stages[name] = found
    publish("trickle", rows, stages_ms=stages)


async def _without_runner(size: tuple[int, int], fps: int, seconds: float) -> dict[str, float]:
    async with _network() as (relay, session):
        relay.create("in", "video/mp2t")
        viewer = Viewer(session, size, fps)
        watching = asyncio.create_task(viewer.watch(f"{relay.url}in"))
        await viewer.publish(f"{relay.url}in", int(seconds * fps))
        await watching
    return percentiles(viewer.latencies_ms())


async def _with_runner(size: tuple[int, int], fps: int, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    frames = int((seconds + WARM_UP_S) * fps)
    async with _network() as (relay, session), _host(size, session) as (url, host):
        for channel in ("in", "out"):
            relay.create(channel, "video/mp2t")
        viewer = Viewer(session, size, fps)
        body = {"subscribe_url": f"{relay.url}in", "publish_url": f"{relay.url}out"}
        async with session.post(f"{url}/api/live-video-to-video", json=body) as answer:
            assert answer.status == 200, await answer.text()
        watching = asyncio.create_task(viewer.watch(f"{relay.url}out"))
        publishing = asyncio.create_task(viewer.publish(f"{relay.url}in", frames))
        await asyncio.sleep(WARM_UP_S)
        cpu, seen = _cpu_s(host), len(viewer.seen_ns)
        await publishing
        used, counted = _cpu_s(host) - cpu, len(viewer.seen_ns) - seen
        await watching
        ended = await _last_event(session, url, "StreamEnded")
    latency = percentiles(viewer.latencies_ms())
    row = {
        "fps": fps,
        "frames in": frames,
        "frames out": len(viewer.seen_ns),
        "lost": frames - len(viewer.seen_ns),
        **{f"{name} ms": value for name, value in latency.items()},
        "CPU ms/frame": round(1000 * used / max(counted, 1), 2),
    }
    return row, {**ended["stages_ms"], "runner": ended["latency_ms"]}


@contextlib.asynccontextmanager
async def _network() -> AsyncIterator[tuple[TrickleRelay, aiohttp.ClientSession]]:
    from runner.live.trickle.address import StreamAddresses
    from runner.live.trickle.relay import TrickleRelay
    from runner.live.trickle.session import trickle_session

    relay = TrickleRelay()
    await relay.start()
    try:
        async with trickle_session(StreamAddresses()) as session:
            yield relay, session
    finally:
        await relay.close()


@contextlib.asynccontextmanager
async def _host(size: tuple[int, int], session: aiohttp.ClientSession) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A runner host that is ready, by its address and its process."""
    import psutil

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wide.py").write_text(PARAMS.format(width=size[0], height=size[1]))
        command = [sys.executable, "-m", "runner.live.infer", "--http-port", "0", "--supervised", "--max-fps", "0"]
        command += ["--pipeline-import", PASS_THROUGH, "--params-import", "wide:Params"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            url = ""
            while not url:
                url = json.loads(await process.stdout.readline()).get("listening", "")
            await _ready(session, url)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.get(f"{url}/api/status") as answer:
            status = await answer.json()
        if status["state"] == "OFFLINE":
            return
        if status["state"] == "ERROR":
            raise SystemExit(status["inference_status"]["last_error"])
        await asyncio.sleep(0.1)


async def _last_event(session: aiohttp.ClientSession, url: str, kind: str) -> dict[str, Any]:
    """The latest event of a kind; it is remembered for latecomers, and may still be about to come."""
    async with session.get(f"{url}/api/events") as answer:
        async for line in answer.content:
            if line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                if event["type"] == kind:
                    return event
    raise SystemExit(f"no {kind} was told")


def _cpu_s(host: psutil.Process) -> float:
    """Of the host and all that it has started."""
    return sum(sum(process.cpu_times()[:2]) for process in (host, *host.children(recursive=True)))


def _sizes(text: str) -> list[tuple[int, int]]:
    return [(int(width), int(height)) for width, height in (size.split("x") for size in text.split(","))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sizes", type=_sizes, default=_sizes("512x512,1280x720"))
    parser.add_argument("--fps", type=int, default=30)
    options = parser.parse_args()
    asyncio.run(main(options.sizes, options.fps, options.seconds))

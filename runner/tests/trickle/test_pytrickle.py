"""Our clients and relay with PyPI's pytrickle, the clients that others use on this network."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.live.trickle import TricklePublisher, TrickleSubscriber
from runner.live.trickle.relay import TrickleRelay
from runner.testing.network import Seen, network

from ..http.infer_process import HostProcess, running
from ..unit.media import streams
from .pytrickle_peer import content
from .wire import until

SEGMENTS = 8
ANSWER_LIMIT_S = 60.0


@pytest.fixture(scope="session")
def pytrickle() -> Path:
    """The folder that `make test` installs it into, without what it requires."""
    folder = Path(os.environ.get("PYTRICKLE_FOLDER") or Path(sys.prefix) / "pytrickle")
    if not (folder / "pytrickle" / "publisher.py").exists():
        reason = f"pytrickle is not in {folder}; make pytrickle puts it there"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return folder


@contextlib.asynccontextmanager
async def peer(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    script = Path(__file__).with_name("pytrickle_peer.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(folder), *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
        assert await asyncio.wait_for(process.wait(), ANSWER_LIMIT_S) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def until_counted(host: HostProcess, missing: int) -> None:
    """Wait until the host has counted as many frames as dropped."""
    host.until(lambda status: status["state"] == "OFFLINE")
    metric = re.compile(r'^ai_runner_frames_dropped_total\{reason="(?!sound)[^"]+"\} (\S+)$', re.MULTILINE)
    host.until(lambda _: sum(map(float, metric.findall(host.client.get("/metrics").text))) == missing)


async def told(process: asyncio.subprocess.Process) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), ANSWER_LIMIT_S)
    answer: dict[str, object] = json.loads(line)
    return answer


async def test_pytrickle_publishes_and_we_subscribe(relay: TrickleRelay, pytrickle: Path) -> None:
    url = relay.url + "chan"
    async with peer(pytrickle, "publish", url, str(SEGMENTS)) as process, TrickleSubscriber(url) as subscriber:
        for seq in range(SEGMENTS):
            segment = await asyncio.wait_for(subscriber.next(), ANSWER_LIMIT_S)
            assert segment is not None
            data = b""
            while chunk := await asyncio.wait_for(segment.read(), ANSWER_LIMIT_S):
                data += chunk
            assert (segment.seq(), data == content(seq), segment.broken) == (seq, True, False)
            assert await told(process) == {"seq": seq}
            assert process.stdin is not None
            process.stdin.write(b"go on\n")


async def test_we_publish_and_pytrickle_subscribes(relay: TrickleRelay, pytrickle: Path) -> None:
    url = relay.url + "chan"
    async with (
        TricklePublisher(url, "video/mp2t") as publisher,
        peer(pytrickle, "subscribe", url, str(SEGMENTS + 1)) as process,
    ):
        await until(lambda: relay.channels()[0].readers > 0, ANSWER_LIMIT_S)
        for seq in range(SEGMENTS):
            async with await publisher.next() as segment:
                for start in range(0, len(content(seq)), 10_000):
                    await segment.write(content(seq)[start : start + 10_000])
            await segment.done()
            assert await told(process) == {"seq": seq, "sha256": hashlib.sha256(content(seq)).hexdigest()}
        await publisher.close()  # which ends its loop: one more segment was wanted


async def test_the_runner_processes_what_pytrickle_publishes(tmp_path: Path, pytrickle: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    parts = streams.make_stream(
        [90_000 + number * 3750 for number in range(72)], size=(320, 240), key_every=24, audio="aac"
    )
    for second in range(3):
        (clip / f"{second}.ts").write_bytes(b"".join(parts[24 * second : 24 * (second + 1) if second < 2 else None]))
    with running(tmp_path, "--http-port", "0", "--pipeline", "noop") as host:
        host.wait_ready()
        async with network() as session:
            answer = await asyncio.to_thread(
                host.client.post, "/api/live-video-to-video", json={**session.urls, "request_id": "r1"}
            )
            assert answer.status_code == 200
            seen = Seen()

            def came() -> set[int]:
                return {(pts - seen.pts[0]) // 3750 for pts in seen.pts if (pts - seen.pts[0]) % 3750 == 0}

            def second(number: int) -> set[int]:
                return set(range(24 * number, 24 * (number + 1)))

            watching = asyncio.create_task(session.watch(seen, (320, 240)))
            await session.wait_for_reader()
            async with peer(pytrickle, "publish", session.urls["subscribe_url"], str(clip)) as process:
                for seq in range(3):
                    assert await told(process) == {"seq": seq}
                    await until(lambda seq=seq: came() & second(seq), ANSWER_LIMIT_S)  # type: ignore[misc]
                    assert process.stdin is not None
                    process.stdin.write(b"go on\n")
            session.relay.close_channel(session.name)  # pytrickle leaves it open
            await asyncio.wait_for(watching, ANSWER_LIMIT_S)
            # A second comes all at once: a busy machine may drop some of it, and counts them.
            await asyncio.to_thread(until_counted, host, 72 - len(came()))
        assert seen.pts == sorted(set(seen.pts))

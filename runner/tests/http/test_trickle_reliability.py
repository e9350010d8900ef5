"""What the network does to a runner: servers that go, starts that collide, streams without end. A real host each time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runner.live.trickle.address import StreamAddresses
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.session import trickle_session
from runner.testing.network import Network, Seen, network

from ..trickle.clock import kept_port
from .infer_process import PATIENCE_S, HostProcess, running

START = "/api/live-video-to-video"
STREAMS = int(os.environ.get("AI_RUNNER_STREAMS", "60"))  # 1000 take some two minutes
SLOW_TO_LOAD = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.02)
def same(frame):
    return frame
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """A host that reports every callback that blocks its event loop."""
    folder = tmp_path_factory.mktemp("project")
    flags = ("--http-port", "0", "--pipeline", "noop", "--max-fps", "0")
    with running(folder, *flags, PYTHONASYNCIODEBUG="1", WATCH_LOOP="1", CENSUS=str(folder / "census")) as host:
        host.wait_ready()
        began = host.log.stat().st_size  # what it imports at its start is not about streams
        yield host
        told = host.log.read_bytes()[began:].decode().splitlines()
        assert [line for line in told if "test: held up" in line] == []


async def start(host: HostProcess, session: Network, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=host.url, timeout=PATIENCE_S, verify=False) as client:
        return await client.post(START, json={**session.urls, **body})


async def state(host: HostProcess, wanted: str) -> None:
    await asyncio.to_thread(host.until, lambda status: status["state"] == wanted)


async def test_two_starts_at_once_leave_one_stream_that_works(host: HostProcess) -> None:
    async with network("first") as first, network("second") as second:
        answers = await asyncio.gather(start(host, first), start(host, second))
        assert [answer.status_code for answer in answers] == [200, 200]
        seen = {session.name: Seen() for session in (first, second)}
        watching = [asyncio.create_task(session.watch(seen[session.name])) for session in (first, second)]
        await asyncio.gather(*(session.publish(24) for session in (first, second)))
        await asyncio.wait_for(asyncio.gather(*watching), PATIENCE_S)
        counts = sorted(len(found.numbers) for found in seen.values())
        assert counts == [0, 24]


async def test_a_new_start_replaces_the_stream_that_runs(host: HostProcess) -> None:
    async with network("old") as old, network("new") as new:
        await start(host, old)
        publishing = asyncio.create_task(old.publish(10_000))
        before = Seen()
        watching = asyncio.create_task(old.watch(before))
        while len(before.numbers) < 5:
            await asyncio.sleep(0.02)
        assert (await start(host, new)).status_code == 200
        await asyncio.wait_for(watching, PATIENCE_S)  # the old output was closed
        publishing.cancel()
        seen = Seen()
        following = asyncio.create_task(new.watch(seen))
        await new.publish(24)
        await asyncio.wait_for(following, PATIENCE_S)
        await asyncio.gather(publishing, return_exceptions=True)
        assert seen.numbers == list(range(24))


async def test_channels_that_are_not_there_end_the_stream_and_the_next_one_works(host: HostProcess) -> None:
    async with network() as session:
        missing = {"subscribe_url": f"{session.relay.url}no", "publish_url": f"{session.relay.url}no-out"}
        assert (await start(host, session, **missing)).status_code == 200
        await state(host, "OFFLINE")
        await start(host, session)
        seen = Seen()
        watching = asyncio.create_task(session.watch(seen))
        await session.publish(12)
        await asyncio.wait_for(watching, PATIENCE_S)
        assert seen.numbers == list(range(12))


async def test_a_server_that_is_gone_and_back_costs_no_more_than_its_absence(host: HostProcess) -> None:
    """The relay's process ends in mid-stream; one at the same address, with the same channels, takes its place."""
    with kept_port() as port:
        async with relay_at(port) as session:
            await start(host, session)
            publishing = asyncio.create_task(session.publish(10_000))
            watching = asyncio.create_task(session.watch(seen := Seen()))
            while len(seen.numbers) < 12:
                await asyncio.sleep(0.02)
            await session.relay.close()
            for task in (publishing, watching):
                task.cancel()
            await asyncio.gather(publishing, watching, return_exceptions=True)
        async with relay_at(port) as session:
            await start(host, session)
            watching = asyncio.create_task(session.watch(seen := Seen()))
            await session.publish(24)
            await asyncio.wait_for(watching, PATIENCE_S)
            assert seen.numbers == list(range(24))


@asynccontextmanager
async def relay_at(port: int) -> AsyncIterator[Network]:
    """As `network`, at this port."""
    relay = TrickleRelay()
    await relay.start(port=port)
    async with trickle_session(StreamAddresses()) as session:
        yield Network(relay, session, "3f2a")
    await relay.close()


async def test_a_viewer_that_does_not_read_holds_nothing_up(host: HostProcess) -> None:
    async with network() as session:
        await start(host, session)
        reader, writer = await asyncio.open_connection("127.0.0.1", session.port)
        writer.write(b"GET /ai/trickle/3f2a-out/-1 HTTP/1.1\r\nHost: relay\r\n\r\n")
        await writer.drain()
        seen = Seen()
        watching = asyncio.create_task(session.watch(seen))
        await session.publish(48)
        await asyncio.wait_for(watching, PATIENCE_S)
        writer.close()
        assert seen.numbers == list(range(48))
        del reader


async def test_a_start_while_it_loads_shows_that_it_loads_and_then_works(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_TO_LOAD)
    with running(tmp_path, "--http-port", "0", "--pipeline-import", "slow:same") as host:
        async with network() as session:
            answer = await start(host, session, params={"width": 448, "height": 448})
            assert answer.status_code == 200
            assert host.client.get("/api/status").json()["state"] == "LOADING"
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen, (448, 448)))
            publishing = asyncio.create_task(session.publish(10_000))  # for as long as it takes to load
            while len(seen.numbers) < 12:  # loading frames
                await asyncio.sleep(0.02)
            assert set(seen.numbers) == {None}
            (tmp_path / "go").touch()
            while len(numbers := [number for number in seen.numbers if number is not None]) < 24:
                await asyncio.sleep(0.05)
            for task in (publishing, watching):
                task.cancel()
            await asyncio.gather(publishing, watching, return_exceptions=True)
        assert numbers == sorted(set(numbers))
        status = host.client.get("/api/status").json()
        assert status["inference_status"]["last_params"]["width"] == 448


@pytest.mark.timeout(120 + STREAMS)
async def test_many_streams_in_a_row_leave_nothing(host: HostProcess) -> None:
    process = psutil.Process(host.process.pid)
    most_bytes = 0
    for number in range(STREAMS):
        async with network(f"s{number}") as session:
            await start(host, session, request_id=f"s{number}")
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen, (64, 64)))
            await session.wait_for_reader()
            await session.publish(3, size=(64, 64), speed=0)
            await asyncio.wait_for(watching, PATIENCE_S)
            assert len(seen.numbers) == 3
        if number <= STREAMS // 4:  # connections, threads and encoders that are kept are there by then
            before = (process.num_fds(), process.num_threads())
            most_bytes = max(most_bytes, process.memory_info().rss)
    await state(host, "OFFLINE")
    deadline = time.monotonic() + PATIENCE_S
    while process.num_fds() > before[0] + 3 or process.num_threads() > before[1] + 2:
        assert time.monotonic() < deadline, (process.num_fds(), process.num_threads(), before)
        await asyncio.sleep(0.05)
    # Without garbage, and compared with the most that a few streams took: it goes up and down by 30 MB.
    await asyncio.to_thread(host.census)
    assert process.memory_info().rss <= most_bytes + (16 << 20)

"""Streams through the container's HTTP server, as an orchestrator starts, watches and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runner.testing.network import Network, Seen, network

from .app_process import PATIENCE_S, AppProcess, serving
from .infer_process import closed, gone

EFFECTS = """
import os, time
from runner.live.pipelines import BaseParams
class Params(BaseParams):
    gain: float = 1.0
    blocked: bool = False
def effect(frame, params: Params):
    while params.blocked and not os.path.exists("go-on"):
        open("blocks", "w").close()
        time.sleep(0.02)
    return frame
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    folder = tmp_path_factory.mktemp("app")
    with serving(folder, PIPELINE_IMPORT="effects:effect", **project(folder)) as app:
        app.until("IDLE")
        yield app


def project(folder: Path) -> dict[str, str]:
    """The environment of a server that serves our effects."""
    (folder / "effects.py").write_text(EFFECTS)
    return {"PYTHONPATH": str(folder), "LIVE_RUNNER": "1"}


async def start(app: AppProcess, session: Network, **body: object) -> httpx.Response:
    return await asyncio.to_thread(app.start, **session.urls, gateway_request_id="r1", **body)


@asynccontextmanager
async def pictures(session: Network) -> AsyncIterator[Seen]:
    """Pictures come and come, for as long as this is open; what comes back of them."""
    seen = Seen()
    tasks = [asyncio.create_task(session.watch(seen)), asyncio.create_task(session.publish(10_000))]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def come(seen: Seen, more: int = 12) -> None:
    """That many more pictures."""
    wanted = len(seen.numbers) + more
    await until(lambda: len(seen.numbers) >= wanted)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


@dataclass
class HealthLog:
    """Answers of /health: how many, and each status that differs from the previous one."""

    answers: int = 0
    statuses: list[str] = field(default_factory=list)


@asynccontextmanager
async def watched(app: AppProcess) -> AsyncIterator[HealthLog]:
    """Ask for the health all the time. All answers are 200."""
    log = HealthLog()

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=app.url, timeout=PATIENCE_S, verify=False) as client:
            while True:
                answer = await client.get("/health")
                assert answer.status_code == 200, answer.text
                log.answers += 1
                if answer.json()["status"] not in log.statuses[-1:]:
                    log.statuses.append(answer.json()["status"])
                await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield log
        assert not asking.done(), asking.exception()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_health_is_ok_for_as_long_as_a_stream_runs_and_idle_soon_after(app: AppProcess) -> None:
    await asyncio.to_thread(app.until, "IDLE")
    async with network() as session:
        assert (await start(app, session)).status_code == 200
        async with watched(app) as log:
            async with pictures(session) as seen:
                await come(seen, 24)
            await asyncio.to_thread(app.until, "IDLE")
        assert log.statuses in (["OK"], ["OK", "IDLE"])
        assert seen.numbers[:24] == list(range(24))
        await closed(session.urls["publish_url"])
        await closed(session.urls["events_url"])


async def test_a_second_start_replaces_the_stream_and_health_never_says_idle(app: AppProcess) -> None:
    async with network("old") as old, network("new") as new:
        await start(app, old)
        async with watched(app) as log, pictures(old) as before:
            await come(before)
            assert (await start(app, new)).status_code == 200
            await closed(old.urls["publish_url"])
            async with pictures(new) as seen:
                await come(seen)
        assert log.statuses == ["OK"]


async def test_health_is_told_while_params_flood_and_the_pipeline_blocks(app: AppProcess) -> None:
    async with network() as session:
        await start(app, session)
        async with watched(app) as log, pictures(session) as seen:
            for number in range(300):
                await session.send_params({"gain": number / 300})
            await come(seen)
            await session.send_params({"blocked": True})
            await until((app.folder / "blocks").exists)
            answers = log.answers
            await until(lambda: log.answers > answers + 20)
            (app.folder / "go-on").touch()
            await session.send_params({"gain": 0.5})
            await come(seen, 3)
        assert log.statuses == ["OK"]


async def test_an_orchestrator_that_closes_all_channels_ends_it(app: AppProcess) -> None:
    async with network() as session:
        await start(app, session)
        async with pictures(session) as seen:
            await come(seen)
            async with httpx.AsyncClient(verify=False) as client:
                for url in session.urls.values():
                    await client.delete(url)
            await asyncio.to_thread(app.until, "IDLE")


async def test_the_other_contract_waits_for_the_stream_to_be_over(app: AppProcess) -> None:
    async with network() as session:
        await start(app, session)
        headers = {
            "Livepeer-Session-Id": "s-1",
            "Livepeer-Session-Token": "t0ken-t0ken",
            "Livepeer-Session-Control": f"http://127.0.0.1:{session.port}/session",
            "Livepeer-Runner-Route": "/x",
        }
        async with pictures(session) as seen:
            await come(seen)
            answer = await asyncio.to_thread(lambda: app.client.post("/live-runner/start", json={}, headers=headers))
            assert answer.status_code in (400, 403, 409, 502, 503), answer.text
            assert answer.json()["detail"]["msg"]
            assert "t0ken" not in answer.text
            await come(seen)
    await asyncio.to_thread(app.until, "IDLE")


async def test_channels_of_a_host_that_is_killed_are_closed_before_there_is_another(app: AppProcess) -> None:
    async with network() as session:
        heard: list[dict[str, Any]] = []
        hearing = asyncio.create_task(session.events(heard))
        await start(app, session)
        async with pictures(session) as seen:
            await come(seen)
            below = app.below()
            async with watched(app) as log:
                (app.folder / "held").touch()
                app.host().kill()
                await closed(session.urls["publish_url"])
                await closed(session.urls["events_url"])
                (app.folder / "held").unlink()
                await asyncio.to_thread(app.until, "IDLE")
                await until(lambda: log.statuses[-1:] == ["IDLE"])  # it asks for itself, a little later
            assert log.statuses in (["OK", "LOADING", "IDLE"], ["LOADING", "IDLE"])
        await asyncio.wait_for(hearing, PATIENCE_S)
        last = heard[-1]["event"]
        assert (last["type"], last["message"]) == ("error", "stream ended: the runner host was killed by SIGKILL")
    assert gone([each for each in below if "resource_tracker" not in _command(each)])
    async with network("next") as session:
        assert (await start(app, session)).status_code == 200
        async with pictures(session) as seen:
            await come(seen)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def test_sigterm_in_mid_stream_closes_its_channels_and_leaves_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, PIPELINE_IMPORT="effects:effect", **project(tmp_path)) as app:
        app.until("IDLE")
        async with network() as session:
            await start(app, session)
            async with pictures(session) as seen:
                await come(seen)
                below = app.below()
                os.kill(app.process.pid, signal.SIGTERM)
                await closed(session.urls["publish_url"])
                assert await asyncio.to_thread(app.ended) == 0
        assert gone(below)
        assert [name for name in app.left() if name.startswith("ai-runner")] == []

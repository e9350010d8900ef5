"""Streams of the network through a real host: four channels of a relay, video, params and events over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner.testing.network import Network, Seen, network

from .infer_process import PATIENCE_S, HostProcess, closed, running

PIPELINE = """
import os, signal
from pydantic import ConfigDict, Field
from runner.live.pipelines import BaseParams
class Params(BaseParams):
    model_config = ConfigDict(extra="forbid")
    gain: float = Field(default=1.0, ge=0, le=4)
    die: bool = False
def effect(frame, params: Params):
    if params.die:
        os.kill(os.getpid(), signal.SIGKILL)
    return frame * params.gain
"""
START = "/api/live-video-to-video"
TEXT = {"accept": "*/*"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "effects.py").write_text(PIPELINE)
    with running(folder, "--http-port", "0", "--pipeline-import", "effects:effect") as host:
        host.wait_ready()
        yield host


@pytest.fixture
def host(shared: HostProcess) -> Iterator[HostProcess]:
    yield shared
    shared.client.delete("/api/stream").raise_for_status()
    answer = shared.client.post("/api/params", json={})
    assert answer.status_code == 200, answer.text


@asynccontextmanager
async def started(host: HostProcess, **body: Any) -> AsyncIterator[tuple[Network, list[dict[str, Any]]]]:
    """A session that the host has been told to stream; what it tells on the events channel."""
    async with network() as session, httpx.AsyncClient(base_url=host.url, timeout=PATIENCE_S, verify=False) as client:
        heard: list[dict[str, Any]] = []
        hearing = asyncio.create_task(session.events(heard))
        answer = await client.post(START, json={**session.urls, "request_id": "r1", **body})
        assert (answer.status_code, answer.text) == (200, "Stream started successfully")
        try:
            yield session, heard
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def until(condition: Any, limit_s: float = PATIENCE_S) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), limit_s)


def kinds(heard: list[dict[str, Any]]) -> list[str]:
    return [event["event"]["type"] for event in heard]


class TestVideo:
    async def test_every_picture_comes_back_in_order_with_its_time_and_the_sound_beside_it(
        self, host: HostProcess
    ) -> None:
        async with started(host) as (session, _):
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen))
            await session.publish(60, sound=True)
            await asyncio.wait_for(watching, PATIENCE_S)
        assert seen.numbers == list(range(60))
        assert seen.pts == [number * 3750 for number in range(60)]
        assert len(seen.sound_s) > 80
        assert seen.sound_s == sorted(seen.sound_s)
        assert abs(seen.sound_s[-1] - 2.5) < 0.2

    async def test_a_second_that_comes_all_at_once_is_not_lost(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen))
            await session.publish(24, speed=0)
            await asyncio.wait_for(watching, PATIENCE_S)
        assert seen.numbers == list(range(24))

    async def test_the_last_picture_comes_while_the_stream_is_still_open(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen))
            publishing = asyncio.create_task(session.publish(10_000, speed=1.0))
            await until(lambda: len(seen.numbers) > 30)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await asyncio.wait_for(watching, PATIENCE_S)
        assert seen.numbers == list(range(len(seen.numbers)))

    async def test_status_says_what_decodes_and_encodes_it(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            publishing = asyncio.create_task(session.publish(10_000))
            status = await asyncio.to_thread(host.until, lambda s: s.get("media", {}).get("encoder"))
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        assert status["media"] == {"decoder": "h264", "encoder": "libx264", "max_fps": 24.0}
        await asyncio.to_thread(host.until, lambda s: s["state"] == "OFFLINE" and "media" not in s)

    async def test_thirty_a_second_become_twenty_four(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen))
            await session.publish(60, fps=30)
            await asyncio.wait_for(watching, PATIENCE_S)
        assert 47 <= len(seen.numbers) <= 49


class TestParams:
    async def test_come_with_the_start_and_on_the_control_channel(self, host: HostProcess) -> None:
        async with started(host, params={"gain": 2}) as (session, _):
            assert host.client.get("/api/status").json()["inference_status"]["last_params"]["gain"] == 2
            await session.send_params({"keep": "alive"})
            await session.send_params(b"no json")
            await session.send_params(["no object"])
            await session.send_params({"gain": 3})
            await asyncio.to_thread(host.until, lambda s: s["inference_status"]["last_params"]["gain"] == 3)

    async def test_refused_ones_are_told_as_an_error_and_the_stream_goes_on(self, host: HostProcess) -> None:
        async with started(host) as (session, heard):
            await session.send_params({"gain": 77})
            await until(lambda: "error" in kinds(heard))
            await session.send_params({"width": 768})
            await until(lambda: kinds(heard).count("error") == 2)
            first, second = [event["event"] for event in heard if event["event"]["type"] == "error"]
            assert "gain" in first["message"]
            assert "768" in second["message"]
            assert isinstance(first["time"], float)
            assert host.client.get("/api/status").json()["state"] != "OFFLINE"

    async def test_a_flood_leaves_the_last_one_in_force(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            for number in range(1000):
                await session.send_params({"gain": number / 1000})
            await session.send_params({"gain": 4})
            await asyncio.to_thread(host.until, lambda s: s["inference_status"]["last_params"]["gain"] == 4)

    def test_refused_at_the_start_are_told_at_once(self, host: HostProcess) -> None:
        body = {"subscribe_url": "http://127.0.0.1:1/in", "publish_url": "http://127.0.0.1:1/out"}
        answer = host.client.post(START, json={**body, "params": {"width": 100}}, headers=TEXT)
        assert answer.status_code == 400
        assert answer.text.startswith("Error starting stream: ")
        assert "width" in answer.text

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "rtsp://camera/1", "http://", "pattern:"])
    def test_only_web_addresses_are_streamed(self, host: HostProcess, url: str) -> None:
        answer = host.client.post(START, json={"subscribe_url": url, "publish_url": ""}, headers=TEXT)
        assert answer.status_code == 400
        assert answer.text.startswith("Error starting stream: ")


class TestEvents:
    async def test_traces_are_told_once_each(self, host: HostProcess) -> None:
        async with started(host) as (session, heard):
            seen = Seen()
            watching = asyncio.create_task(session.watch(seen))
            await session.publish(60)
            await asyncio.wait_for(watching, PATIENCE_S)
            await until(lambda: len([e for e in heard if e["queue_event_type"] == "stream_trace"]) == 3)
        traces = {e["event"]["type"]: e["event"]["timestamp"] for e in heard if e["queue_event_type"] == "stream_trace"}
        assert set(traces) == {
            "runner_receive_stream_request",
            "runner_receive_first_ingest_segment",
            "runner_send_first_processed_segment",
        }
        assert all(type(at) is int for at in traces.values())

    async def test_status_is_told_with_params_once_after_they_changed(self, host: HostProcess) -> None:
        async with started(host, params={"gain": 2}) as (_, heard):
            await until(lambda: kinds(heard).count("status") >= 2)  # the second: nothing has come in
        first, second = [e for e in heard if e["event"]["type"] == "status"][:2]
        assert first["queue_event_type"] == "ai_stream_events"
        assert first["event"]["inference_status"]["last_params"] == {"gain": 2}
        assert second["event"]["inference_status"]["last_params"] is None
        digest = hashlib.md5(json.dumps({"gain": 2}).encode()).hexdigest()
        assert second["event"]["inference_status"]["last_params_hash"] == digest
        assert second["event"]["last_status_timestamp"] == first["event"]["timestamp"]

    async def test_a_pipeline_that_dies_is_told_with_its_restart(self, host: HostProcess) -> None:
        async with started(host, params={"die": True}) as (session, heard):
            publishing = asyncio.create_task(session.publish(240))
            await until(lambda: "restart" in kinds(heard))
            restart = next(e["event"] for e in heard if e["event"]["type"] == "restart")
            assert restart["restart_count"] == 1
            assert isinstance(restart["restart_time"], float)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        await asyncio.to_thread(host.until, lambda status: status["state"] not in ("LOADING", "ERROR"))


class TestEnd:
    async def test_of_the_input_closes_output_and_events(self, host: HostProcess) -> None:
        async with started(host) as (session, _):
            await session.publish(24)
            for url in (session.urls["publish_url"], session.urls["events_url"]):
                await closed(url)
        await asyncio.to_thread(host.until, lambda status: status["state"] == "OFFLINE")

    async def test_by_sigterm_is_a_clean_one(self, tmp_path: Path) -> None:
        with running(tmp_path, "--http-port", "0", "--pipeline", "noop") as host:
            host.wait_ready()
            async with started(host) as (session, _):
                seen = Seen()
                watching = asyncio.create_task(session.watch(seen))
                publishing = asyncio.create_task(session.publish(10_000))
                await until(lambda: len(seen.numbers) > 10)
                host.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(host.ended) == 0
                await asyncio.wait_for(watching, PATIENCE_S)  # its channel was closed
                publishing.cancel()
                await asyncio.gather(publishing, return_exceptions=True)
            assert seen.numbers == list(range(len(seen.numbers)))

    async def test_a_killed_host_leaves_channels_that_the_next_one_closes(self, tmp_path: Path) -> None:
        flags = ("--http-port", "0", "--pipeline", "noop", "--run-folder", str(tmp_path))
        with running(tmp_path, *flags) as host:
            host.wait_ready()
            async with started(host) as (session, _):
                os.kill(host.process.pid, signal.SIGKILL)
                await asyncio.to_thread(host.ended)
                url = session.urls["publish_url"]
                async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:
                    assert (await client.get(f"{url}/next")).status_code == 200
                with running(tmp_path, *flags):
                    await closed(url)
        assert not (tmp_path / "stream.json").exists()

"""What servers and networks do wrong, against a real host: it survives what it can, and says why where it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runner.errors import TrickleError
from runner.live.events import ParamsChanged, StreamEnded, decode
from runner.live.trickle.publisher import TricklePublisher
from runner.testing.network import VIDEO_TYPE, Network, Seen, network

from .faulty_proxy import Asked, Fault, FaultyProxy, between
from .infer_process import PATIENCE_S, HostProcess, gone, running

START = "/api/live-video-to-video"
EFFECTS = """
from pydantic import Field
from runner.live.pipelines import BaseParams
class Params(BaseParams):
    gain: float = 1.0
    prompt: str = ""
def effect(frame, params: Params):
    return frame
"""
FLAGS = ("--http-port", "0", "--max-fps", "0", "--pipeline-import", "effects:effect")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "effects.py").write_text(EFFECTS)
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[HostProcess]:
    with running(folder, *FLAGS, "--initial-params", '{"gain": 0.5}', CENSUS=str(folder / "census")) as host:
        host.wait_ready()
        yield host


@pytest.fixture
def host(shared: HostProcess) -> Iterator[HostProcess]:
    yield shared
    shared.client.delete("/api/stream").raise_for_status()


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Path:
    """One that its owner has signed himself, with its key, as orchestrators have them."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command = ["openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=orch", "-keyout", "-", "-out", "-"]
    try:
        made = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("no openssl command to make a certificate with")
    path = folder / "own.pem"
    path.write_bytes(made.stdout)
    return path


class Told:
    """What a host tells of its streams and their params from now on."""

    def __init__(self) -> None:
        self.ends: list[StreamEnded] = []
        self.heard: list[dict[str, Any]] = []  # on the events channel
        self.params: dict[str, Any] = {}  # in force

    async def listen(self, client: httpx.AsyncClient, listening: asyncio.Event) -> None:
        began = time.time()  # a latecomer is told the latest event of each kind first
        async with client.stream("GET", "/api/events") as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                listening.set()
                event = decode(line.removeprefix("data: "))
                if isinstance(event, StreamEnded) and event.at >= began:
                    self.ends.append(event)
                elif isinstance(event, ParamsChanged):
                    self.params = event.params

    async def end(self) -> StreamEnded:
        """The first end of a stream."""
        await until(lambda: self.ends)
        return self.ends[0]

    async def end_on_channel(self) -> str:
        """Why the stream ended, as the events channel has it."""
        await until(lambda: self._errors())
        return self._errors()[0]

    def _errors(self) -> list[str]:
        events = [message["event"] for message in self.heard]
        return [event["message"] for event in events if event["type"] == "error"]


@asynccontextmanager
async def streaming(
    host: HostProcess, *, certificate: Path | None = None, **body: Any
) -> AsyncIterator[tuple[Network, FaultyProxy, Told, Callable[[], Any]]]:
    """A session, a proxy before it, what the host tells, and the call that starts the host's stream."""
    told = Told()
    async with (
        network() as session,
        between(session, certificate) as proxy,
        httpx.AsyncClient(base_url=host.url, timeout=PATIENCE_S, verify=False) as client,
    ):
        listening = asyncio.Event()
        hearing = [
            asyncio.create_task(told.listen(client, listening)),
            asyncio.create_task(session.events(told.heard)),
        ]
        await asyncio.wait_for(listening.wait(), PATIENCE_S)

        async def start(**more: Any) -> None:
            answer = await client.post(START, json={**proxy.urls, "request_id": "r1", **body, **more})
            assert answer.status_code == 200, answer.text

        try:
            yield session, proxy, told, start
        finally:
            if host.process.poll() is None:
                await client.delete("/api/stream")  # while there still is a server that it can take leave of
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)


async def until(condition: Callable[[], Any], limit_s: float = PATIENCE_S) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), limit_s)


@asynccontextmanager
async def pictures(session: Network, fps: int = 24, speed: float = 4.0) -> AsyncIterator[Seen]:
    """Pictures come and come, for as long as this is open; what comes back of them."""
    seen = Seen()
    tasks = [
        asyncio.create_task(session.watch(seen)),
        asyncio.create_task(session.publish(10_000, fps=fps, speed=speed)),
    ]
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


def once(fault: Fault, method: str, channel: str, part: str = "") -> Callable[[Asked], Fault | None]:
    """A rule for the first such request; part "": for all of its kind."""
    done: list[Asked] = []

    def rule(asked: Asked) -> Fault | None:
        if (asked.method, asked.channel) != (method, channel) or part not in ("", asked.part) or (part and done):
            return None
        done.append(asked)
        return fault

    return rule


class TestInput:
    async def test_a_segment_that_is_cut_costs_pictures_and_not_the_stream(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(cut_after=3000), "GET", "in", "1")
            await start()
            async with pictures(session) as seen:
                await until(lambda: any(number is not None and number > 120 for number in seen.numbers))
            assert told.ends == []
            assert seen.pts == sorted(seen.pts)

    async def test_a_segment_with_wrong_bytes_too(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(damage=5000), "GET", "in", "1")
            await start()
            async with pictures(session) as seen:
                await until(lambda: any(number is not None and number > 120 for number in seen.numbers))
            assert told.ends == []

    async def test_what_is_no_video_ends_the_stream_with_the_reason(self, host: HostProcess) -> None:
        async with streaming(host) as (session, _, told, start):
            await start()
            await session.wait_for_reader()
            async with TricklePublisher(session.urls["subscribe_url"], VIDEO_TYPE, session=session.session) as junk:
                for _ in range(3):
                    async with await junk.next() as segment:
                        await segment.write(os.urandom(200_000))
            end = await told.end()
            assert end.error_kind == "source"
            assert "it must be MPEG-TS" in end.error
            assert await told.end_on_channel() == f"stream ended: {end.error}"

    @pytest.mark.parametrize("status", [500, 470])
    async def test_an_answer_that_fails_once_is_asked_for_again(self, host: HostProcess, status: int) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(status, "Lp-Trickle-Latest: 2\r\n"), "GET", "in", "1")
            await start()
            async with pictures(session) as seen:
                await until(lambda: any(number is not None and number > 110 for number in seen.numbers))
            assert told.ends == []

    async def test_segments_that_the_server_gives_again_are_shown_once_and_move_nothing(
        self, host: HostProcess
    ) -> None:
        async with streaming(host) as (session, proxy, told, start):
            # As a server does whose head went back: its publisher has sent an old segment once more.
            proxy.rule = once(Fault(470, "Lp-Trickle-Latest: 1\r\n"), "GET", "in", "3")
            await start()
            async with pictures(session) as seen:
                await until(lambda: any(number is not None and number > 150 for number in seen.numbers))
            assert told.ends == []
        shown = [(number, pts) for number, pts in zip(seen.numbers, seen.pts, strict=False) if number is not None]
        assert [number for number, _ in shown] == sorted({number for number, _ in shown})
        offsets = {pts - number * 90_000 // 24 for number, pts in shown}
        assert max(offsets) - min(offsets) <= 2

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Fault(404), "there is no channel"),
            (Fault(503), "the server answered 503 (5 tries)"),
            (Fault(302, "Location: http://127.0.0.1:9/elsewhere\r\n"), "the server answered 302 (5 tries)"),
        ],
    )
    async def test_one_that_fails_for_good_ends_the_stream_with_the_reason(
        self, host: HostProcess, fault: Fault, said: str
    ) -> None:
        async with streaming(host) as (_, proxy, told, start):
            proxy.rule = once(fault, "GET", "in")
            await start()
            end = await told.end()
            assert said in end.error
            assert end.error_kind == "source"
            assert await told.end_on_channel() == f"stream ended: {end.error}"
            assert {asked.channel for asked in proxy.asked if asked.method == "DELETE"} == {"out", "events"}

    async def test_nobody_publishes_for_a_while_and_then_somebody_does(self, host: HostProcess) -> None:
        async with streaming(host) as (session, _, told, start):
            await start()
            await asyncio.to_thread(host.until, lambda status: status["state"] == "DEGRADED_INPUT")
            async with pictures(session) as seen:
                await come(seen)
            assert told.ends == []


class TestOutput:
    @pytest.mark.parametrize("status", [503])
    async def test_a_segment_that_is_refused_is_lost_or_made_up_for(self, host: HostProcess, status: int) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(status), "POST", "out", "1")
            await start()
            async with pictures(session) as seen:
                await until(lambda: any(number is not None and number > 120 for number in seen.numbers))
            assert told.ends == []

    async def test_a_channel_that_is_gone_ends_the_stream_with_the_reason(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(404), "POST", "out")
            await start()
            async with pictures(session):
                end = await told.end()
            assert end.error_kind == "sink"
            assert await told.end_on_channel() == f"stream ended: {end.error}"
            assert "is closed, or never was there" in end.error

    async def test_a_server_that_takes_nothing_holds_up_neither_the_pipeline_nor_the_end(
        self, host: HostProcess
    ) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = once(Fault(silent=True), "POST", "out")
            await start()
            publishing = asyncio.create_task(session.publish(10_000))
            await asyncio.to_thread(
                host.until, lambda status: (status["inference_status"]["last_output_time"] or 0) > 0
            )
            await asyncio.to_thread(host.client.delete, "/api/stream")
            await until(lambda: any(asked.method == "DELETE" and asked.channel == "out" for asked in proxy.asked))
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            assert told.ends == []  # it was stopped


class TestControlAndEvents:
    @pytest.mark.parametrize("fault", [Fault(404), Fault(silent=True)])
    async def test_without_them_there_is_video_all_the_same(self, host: HostProcess, fault: Fault) -> None:
        async with streaming(host) as (session, proxy, told, start):
            proxy.rule = lambda asked: fault if asked.channel in ("control", "events") else None
            await start()
            async with pictures(session) as seen:
                await come(seen, 48)
            assert told.ends == []

    async def test_messages_made_to_harm_are_left_out(self, host: HostProcess) -> None:
        async with streaming(host) as (session, _, told, start):
            await start()
            harmful = [
                b"[" * 500_000,
                b'{"gain": NaN}',
                b'{"prompt": "\\ud800"}',
                b'{"prompt": "' + b"x" * 300_000 + b'"}',
                b'{"prompt": "' + b"x" * 3_000_000 + b'"}',
                b'{"a":' * 40 + b"1" + b"}" * 40,
                b"\xff\xfe\x00",
            ]
            for message in harmful:
                try:
                    await session.send_params(message)
                except TrickleError:
                    pass  # the one that nobody reads to its end
                assert host.client.get("/api/status").status_code == 200
            await session.send_params({"gain": 3.25})
            await asyncio.to_thread(
                host.until, lambda s: (s["inference_status"]["last_params"] or {}).get("gain") == 3.25
            )
            assert told.ends == []


class TestOutage:
    async def test_a_short_one_costs_a_few_pictures(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            await start()
            async with pictures(session) as seen:
                await come(seen)
                before = host.log.read_text().count("trying again")
                await proxy.down()
                await until(lambda: host.log.read_text().count("trying again") > before)
                await proxy.up()
                await come(seen, 48)
            assert told.ends == []

    async def test_a_long_one_ends_the_stream_with_the_reason_and_the_next_one_works(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            await start()
            async with pictures(session) as seen:
                await come(seen)
                await proxy.down()
                end = await told.end()
                assert "Connection refused (5 tries)" in end.error
                await proxy.up()
                await start()
                await come(seen)
            assert len(told.ends) == 1


class TestStart:
    async def test_without_params_begins_with_the_initial_ones(self, host: HostProcess) -> None:
        async with streaming(host) as (_, _, told, start):
            for params, gain in (({"gain": 2.0}, 2.0), ({}, 0.5), ({"prompt": "x"}, 1.0), ({}, 0.5)):
                await start(params=params)
                assert host.client.get("/api/status").json()["inference_status"]["last_params"] == params
                await until(lambda gain=gain: told.params.get("gain") == gain)

    async def test_that_is_refused_leaves_what_runs_as_it_is(self, host: HostProcess) -> None:
        async with streaming(host) as (session, proxy, told, start):
            await start(params={"gain": 2.0})
            async with pictures(session) as seen:
                await come(seen)
                wrong = {**proxy.urls, "events_url": "http://me:hunter2@127.0.0.1/x", "params": {"gain": 9.0}}
                answer = await asyncio.to_thread(host.client.post, START, json=wrong)
                assert answer.status_code == 400
                assert "hunter2" not in answer.text
                await come(seen)
            assert host.client.get("/api/status").json()["inference_status"]["last_params"]["gain"] == 2.0
            assert told.ends == []

    async def test_one_after_another_in_mid_stream_with_servers_that_are_silent_leaves_nothing(
        self, host: HostProcess
    ) -> None:
        async with streaming(host) as (session, proxy, _, start):
            publishing = asyncio.create_task(session.publish(10_000))
            await start()
            await asyncio.to_thread(host.client.delete, "/api/stream")
            before = await census(host)
            for number in range(4):
                silent = ("out", "events", "control", "in")[number % 4]
                proxy.rule = lambda asked, silent=silent: Fault(silent=True) if asked.channel == silent else None  # type: ignore[misc]
                asked = len(proxy.asked)
                await start()
                await until(lambda asked=asked, silent=silent: silent in {one.channel for one in proxy.asked[asked:]})  # type: ignore[misc]
            proxy.rule = lambda _asked: None
            await asyncio.to_thread(host.client.delete, "/api/stream")
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            # More than once: whatever looks after the serving process has a task for a moment now and then.
            deadline = time.monotonic() + PATIENCE_S
            while True:
                tasks, threads = await census(host)
                if not tasks - before[0] and threads <= before[1] + 2:
                    break
                assert time.monotonic() < deadline, f"{tasks} and {threads} threads, and there were {before}"
                await asyncio.sleep(0.05)


async def census(host: HostProcess) -> tuple[Counter[str], int]:
    """Which tasks the host has, by what they run, and how many threads; tasks of HTTP answers left out."""
    tasks = Counter(await asyncio.to_thread(host.census))
    for answering in ("RequestResponseCycle.run_asgi", "anext_awaitable"):
        del tasks[answering]
    return tasks, psutil.Process(host.process.pid).num_threads()


class TestSecurity:
    async def test_own_certificates_are_taken(self, host: HostProcess, certificate: Path) -> None:
        async with streaming(host, certificate=certificate) as (session, proxy, told, start):
            assert proxy.urls["subscribe_url"].startswith("https://")
            await start()
            async with pictures(session) as seen:
                await come(seen)
            assert told.ends == []

    async def test_a_strict_host_refuses_certificates_and_addresses_and_says_so(
        self, folder: Path, certificate: Path
    ) -> None:
        with running(folder, *FLAGS, "--verify-tls", "--allow", "localhost, 127.0.0.0/8") as host:
            async with streaming(host, certificate=certificate) as (_, proxy, told, start):
                for url in ("http://10.0.0.1/x", "http://[::1]/x", "http://169.254.169.254/"):
                    answer = host.client.post(START, json={**proxy.urls, "control_url": url})
                    assert answer.status_code == 400
                    assert "not allowed" in answer.text or "TRICKLE_ALLOW" in answer.text
                await start()
                end = await told.end()
                assert "its certificate is signed by nobody who is known here" in end.error
                assert "TRICKLE_VERIFY_TLS" in end.error
                assert proxy.asked == []

    async def test_names_of_channels_are_in_no_log_no_event_and_no_answer(self, host: HostProcess) -> None:
        secret = "8c1f0a9d3e5b7c2a"
        urls = {
            "subscribe_url": f"http://127.0.0.1:9/ai/trickle/{secret}",
            "publish_url": f"http://127.0.0.1:9/ai/trickle/{secret}-out",
            "control_url": f"http://127.0.0.1:9/ai/trickle/{secret}-control?token=hunter2",
            "events_url": f"http://127.0.0.1:9/ai/trickle/{secret}-events",
        }
        async with streaming(host) as (_, _, told, start):
            await start(**urls)
            end = await told.end()
        assert "8c1f" in end.error
        for text in (end.error, host.log.read_text(), host.client.get("/api/status").text):
            assert secret not in text
            assert "hunter2" not in text


async def test_sigterm_with_servers_that_are_silent_is_an_orderly_end(folder: Path) -> None:
    with running(folder, *FLAGS) as host:
        host.wait_ready()
        below = host.descendants()
        async with streaming(host) as (session, proxy, _, start):
            await start()
            async with pictures(session) as seen:
                await come(seen)
                proxy.rule = lambda _asked: Fault(silent=True)
                host.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(host.ended) == 0
        assert gone(below)

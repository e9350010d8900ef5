"""Registration with an orchestrator: heartbeats, what comes back by them, and what happens when it goes away."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from runner.live_runner.durations import parse_duration

from ..trickle.clock import LoopClock
from .conftest import Serve
from .orchestrator import Orchestrator
from .pipelines import ShoutingPipeline
from .serving import Client, registered, until

pytestmark = pytest.mark.quick


async def test_it_registers_and_keeps_on_telling(orchestrator: Orchestrator, serve: Serve) -> None:
    served = await serve(metadata="{}", price=0.5, price_unit="720p", version="1.2", proxy=True)
    assert await registered(orchestrator) == "runner_1"
    await until(lambda: len(orchestrator.heartbeats) >= 4, "heartbeats")
    first, *others = orchestrator.heartbeats
    assert (
        first.items()
        >= {
            "runner_url": served.url,
            "app": "live-video-to-video/shout",
            "status": "ready",
            "mode": "persistent",
            "capacity": 1,
            "proxy": True,
            "version": "1.2",
            "metadata": "{}",
            "price_info": {"price": 0.5, "currency": "usd", "unit": "720p"},
            "session_ids": [],
        }.items()
    )
    assert {beat["runner_id"] for beat in others} == {"runner_1"}
    assert orchestrator.refused == []
    # The interval is the orchestrator's: many of ours would have come at the default of 5 s in no time.
    assert served.live_runner.registration is not None
    assert served.live_runner.registration._interval_s == pytest.approx(0.15)


async def test_a_pipeline_that_cannot_serve_is_not_offered(orchestrator: Orchestrator, serve: Serve) -> None:
    served = await serve()
    await registered(orchestrator)
    served.pipeline.ready = "LOADING"
    await until(lambda: orchestrator.heartbeats[-1]["status"] == "loading", "it tells that it loads")
    served.pipeline.ready = "ERROR"
    await until(lambda: orchestrator.heartbeats[-1]["status"] == "error", "it tells that it has failed")
    served.pipeline.ready = "IDLE"
    await until(lambda: orchestrator.heartbeats[-1]["status"] == "ready", "it is back")


async def test_that_it_is_ready_is_sent_before_the_next_heartbeat_is_due(
    orchestrator: Orchestrator, serve: Serve
) -> None:
    orchestrator.interval, orchestrator.ttl = "600s", "3600s"
    pipeline = ShoutingPipeline()
    pipeline.ready = "LOADING"
    await serve(pipeline=pipeline)
    await until(lambda: orchestrator.heartbeats, "it registers while the pipeline loads")
    pipeline.ready = "IDLE"
    await registered(orchestrator)
    assert [beat["status"] for beat in orchestrator.heartbeats] == ["loading", "ready"]


async def test_it_asks_at_once_when_the_orchestrator_has_closed_its_channel(
    orchestrator: Orchestrator, serve: Serve
) -> None:
    orchestrator.interval, orchestrator.ttl = "600s", "3600s"
    await serve()
    runner = orchestrator.runners[await registered(orchestrator)]
    await until(lambda: len(orchestrator.heartbeats) == 1, "registered")
    orchestrator.forget()
    await orchestrator._drop_channel({"internal_url": runner.o2r})
    await until(lambda: orchestrator.runners, "it is registered again")


@pytest.mark.parametrize("status", [404, 401])
async def test_an_orchestrator_that_has_forgotten_it_gets_it_anew(
    orchestrator: Orchestrator, serve: Serve, client: Client, status: int
) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    assert (await client.call("start")).status_code == 200
    orchestrator.unknown_status = status
    before = orchestrator.runners["runner_1"].secret
    orchestrator.forget()
    await until(lambda: orchestrator.runners, "it is registered again")
    assert orchestrator.refused == [status]
    assert next(iter(orchestrator.runners.values())).secret != before
    await until(lambda: served.pipeline.state == "OFFLINE", "the session that nobody knows is stopped")
    # The channel of the new registration is the one that is read.
    await client.reserve(next(iter(orchestrator.runners)))
    assert (await client.call("start")).status_code == 200
    await client.stop()
    await until(lambda: served.pipeline.state == "OFFLINE", "released by the new channel")


async def test_a_session_that_is_not_listed_any_more_is_stopped(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()
    runner_id = await registered(orchestrator)
    await client.reserve(runner_id)
    assert (await client.call("start")).status_code == 200
    await until(lambda: orchestrator.heartbeats[-1]["session_ids"] == [client.session_id], "the session is told")
    orchestrator.runners[runner_id].sessions.clear()  # without the event
    await until(lambda: served.pipeline.state == "OFFLINE", "the stream has ended")
    assert "POST /stop" not in orchestrator.callbacks


async def test_a_reserved_session_waits_for_its_start(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    await serve()
    await client.reserve(await registered(orchestrator))
    count = len(orchestrator.heartbeats)
    await until(lambda: len(orchestrator.heartbeats) >= count + 3, "heartbeats that list it")
    assert orchestrator.callbacks == []
    assert (await client.call("start")).status_code == 200


async def test_keepalives_and_nonsense_on_the_channel_do_no_harm(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()
    runner_id = await registered(orchestrator)
    runner = orchestrator.runners[runner_id]
    await client.reserve(runner_id)
    assert (await client.call("start")).status_code == 200
    for message in ({"keep": "alive"}, {"event": "released"}, {"event": "released", "session": "other"}, {"event": 5}):
        await orchestrator.tell(runner, message)
    assert served.pipeline.stops == 0
    await client.stop()
    await until(lambda: served.pipeline.stops, "released")


async def test_it_says_good_bye(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    await registered(orchestrator)
    await served.close()
    assert orchestrator.unregistered == ["runner_1"]
    assert orchestrator.runners == {}
    count = len(orchestrator.heartbeats)
    with LoopClock() as clock:
        for _ in range(3):
            clock.move(1.0)  # some intervals
            assert (await client.http.get(f"{orchestrator.url}/discovery")).json()[0]["runners"] == []
    assert len(orchestrator.heartbeats) == count


async def test_an_orchestrator_that_is_away_at_first(
    orchestrator: Orchestrator, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    await orchestrator.go_away()
    served = await serve()
    assert (await served.client.get("/live-runner/health")).status_code == 200
    await until(lambda: "cannot be reached" in caplog.text, "it is told")
    await orchestrator.come_back()
    await registered(orchestrator)


async def test_an_orchestrator_that_goes_away_for_a_while(orchestrator: Orchestrator, serve: Serve) -> None:
    served = await serve()
    await registered(orchestrator)
    await orchestrator.go_away()
    registration = served.live_runner.registration
    assert registration is not None
    await until(lambda: registration._failures >= 2, "heartbeats fail")
    await orchestrator.come_back()
    count = len(orchestrator.heartbeats)
    await until(lambda: len(orchestrator.heartbeats) >= count + 2, "heartbeats go on")
    assert list(orchestrator.runners) == ["runner_1"]
    assert orchestrator.refused == []


async def test_after_the_time_to_live_sessions_are_given_up(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    assert (await client.call("start")).status_code == 200
    registration = served.live_runner.registration
    assert registration is not None
    await orchestrator.go_away()
    failures = registration._failures
    await until(lambda: registration._failures > failures, "a heartbeat fails")
    assert registration.registered
    assert served.pipeline.state == "ONLINE"
    registration._last_good -= registration._ttl_s  # so long ago
    for runner in orchestrator.runners.values():
        runner.last -= registration._ttl_s
    await until(lambda: served.pipeline.state == "OFFLINE", "its channels are closed by now: the stream is stopped")
    assert not registration.registered
    await orchestrator.come_back()
    await until(lambda: registration.registered, "it is registered again")
    assert orchestrator.refused[:1] == [404]


async def test_a_wrong_secret_is_told_and_tried_on(
    orchestrator: Orchestrator, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(secret="not-the-secret")
    await until(lambda: len(orchestrator.refused) >= 2, "it is tried again")
    assert set(orchestrator.refused) == {401}
    assert "LIVE_RUNNER_SECRET must be" in caplog.text
    assert "not-the-secret" not in caplog.text
    assert served.live_runner.registration is not None
    assert "401" in served.live_runner.registration.problem
    orchestrator.secret = "not-the-secret"
    await registered(orchestrator)


async def test_an_orchestrator_with_a_certificate_of_its_own(
    orchestrator: Orchestrator, serve: Serve, client: Client, tmp_path: Path
) -> None:
    await orchestrator.go_away()
    orchestrator._ssl = _own_certificate(tmp_path)
    await orchestrator.come_back()
    strict = await serve()
    registration = strict.live_runner.registration
    assert registration is not None
    await until(lambda: "certificate" in registration.problem, "it is told")
    assert "LIVE_RUNNER_VERIFY_TLS=0" in registration.problem
    assert orchestrator.runners == {}
    await strict.close()

    await serve(verify_tls=False)
    await client.reserve(await registered(orchestrator))
    assert (await client.call("start")).status_code == 200
    assert (await client.call("stop")).status_code == 200


def _own_certificate(folder: Path) -> ssl.SSLContext:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-subj", "/CN=orchestrator", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1h0m0.5s", 3600.5), ("250µs", 0.00025), ("0", 0)],
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "-5s", "1x", "1s ", "1 s", "s1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)

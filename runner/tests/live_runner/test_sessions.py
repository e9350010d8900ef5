"""Sessions of a live runner from the client's side, through the orchestrator's proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from runner.errors import ProcessError, StreamError
from runner.live.trickle import TricklePublisher, TrickleSubscriber
from runner.live.trickle.address import StreamAddresses

from .conftest import Serve
from .orchestrator import Orchestrator
from .serving import PATIENCE_S, Client, Served, registered, until

pytestmark = pytest.mark.quick


async def _send(publisher: TricklePublisher, data: bytes) -> None:
    async with await publisher.next() as segment:
        await segment.write(data)


async def _receive(subscriber: TrickleSubscriber) -> bytes | None:
    segment = await asyncio.wait_for(subscriber.next(), PATIENCE_S)
    if segment is None:
        return None
    data = b""
    while part := await segment.read():
        data += part
    return data


async def _running(orchestrator: Orchestrator, serve: Serve, client: Client) -> Served:
    """A runner with a session of `client` that runs."""
    served = await serve()
    await client.reserve(await registered(orchestrator))
    answer = await client.call("start")
    assert answer.status_code == 200, answer.text
    return served


async def test_a_session_from_start_to_stop(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    answer = await client.call("start", {"params": {"prefix": "1 "}})
    started = answer.json()
    assert answer.status_code == 200
    assert started["session"] == client.session_id
    names = ("in", "out", "control", "events")
    assert all(started[name].startswith("http://localhost:") for name in names)
    given = served.pipeline.started[0]
    assert all(given[name].startswith("http://127.0.0.1:") for name in names)
    assert given["ids"] == (client.session_id,) * 3

    async with (
        TricklePublisher(started["in"], "video/mp2t") as sender,
        TrickleSubscriber(started["out"], 0) as receiver,
    ):
        await _send(sender, b"first")
        assert await _receive(receiver) == b"1 FIRST"
        updated = await client.call("update", {"params": {"prefix": "2 "}})
        assert updated.json() == {"session": client.session_id, "params": {"prefix": "2 "}}
        await _send(sender, b"second")
        assert await _receive(receiver) == b"2 SECOND"

        orchestrator.slow_s = 0.2
        stopping = asyncio.create_task(client.call("stop"))
        assert await _receive(receiver) is None
        # Released by then: whoever sees the output end can reserve again at once.
        assert not next(iter(orchestrator.runners.values())).sessions
        assert (await stopping).status_code == 200
    assert "DELETE /channels" not in orchestrator.callbacks  # the release has closed them
    assert (await client.call("update", {"params": {}})).status_code == 404


async def test_the_end_of_the_input_ends_the_session(
    orchestrator: Orchestrator, serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.live_runner.session.BEGIN_LIMIT_S", 0.0)  # the stream may be over before it is seen
    served = await _running(orchestrator, serve, client)
    async with TricklePublisher(served.pipeline.started[0]["in"], "video/mp2t") as sender:
        await _send(sender, b"last")
    await until(lambda: orchestrator.callbacks[-1] == "POST /stop", "the session is given back")
    runner = next(iter(orchestrator.runners.values()))
    await until(lambda: not runner.sessions, "the orchestrator has released the session")


async def test_a_pipeline_that_fails_ends_the_session(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await _running(orchestrator, serve, client)
    served.pipeline.state = "ERROR"
    await until(lambda: "POST /stop" in orchestrator.callbacks, "the session is given back")
    await until(lambda: served.pipeline.stops == 1, "the stream is stopped")


@pytest.mark.parametrize("status", [400, 500])
async def test_channels_are_closed_where_the_session_cannot_be_given_back(
    orchestrator: Orchestrator, serve: Serve, client: Client, status: int
) -> None:
    await _running(orchestrator, serve, client)
    orchestrator.failing["POST /stop"] = status
    assert (await client.call("stop")).status_code == 200
    await until(lambda: orchestrator.callbacks.count("DELETE /channels") == 4, "the channels are closed")


async def test_what_the_orchestrator_has_released_stops_here(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await _running(orchestrator, serve, client)
    await client.stop()
    await until(lambda: served.pipeline.stops, "the stream was stopped")
    await until(lambda: served.pipeline.state == "OFFLINE", "the stream has ended")
    assert "POST /stop" not in orchestrator.callbacks


async def test_a_second_start_of_a_session_gives_the_same_answer(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    answers = await asyncio.gather(*(client.call("start") for _ in range(3)))
    answers.append(await client.call("start", {"params": {"prefix": "other"}}))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1
    assert len(served.pipeline.started) == 1


async def test_a_second_session_is_refused(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await _running(orchestrator, serve, client)
    headers = orchestrator.session_headers("runner_1", client.session_id)
    other = headers | {"Livepeer-Session-Id": "another"}
    refused = await served.client.post("/live-runner/start", headers=other)
    assert refused.status_code == 503
    assert "serves another session" in refused.json()["detail"]["msg"]
    for name, status in (("update", 409), ("stop", 409)):
        assert (
            await served.client.post(f"/live-runner/{name}", headers=other, json={"params": {}})
        ).status_code == status
    assert served.pipeline.stops == 0


async def test_the_next_session_does_not_wait_for_news_of_the_last_one(
    orchestrator: Orchestrator, serve: Serve, client: Client, second_client: Client
) -> None:
    served = await serve(dynamic=False)
    runner_id = orchestrator.register_static(
        {"runner_url": served.url, "app": "live-video-to-video/shout", "capacity": 1}
    )
    await client.reserve(runner_id)
    assert (await client.call("start")).status_code == 200
    served.pipeline.stop_s = 0.1
    # Released, and a static runner is told by nobody: the next start is the first to know.
    orchestrator.runners[runner_id].sessions.clear()
    await second_client.reserve(runner_id)
    assert (await second_client.call("start")).status_code == 200
    assert served.pipeline.stops == 1
    assert len(served.pipeline.started) == 2


async def test_a_refused_start_leaves_nothing_open(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    session = orchestrator.runners["runner_1"].sessions[client.session_id]
    refused = await client.call("start", {"params": {"prefix": 5}})
    assert refused.status_code == 400
    assert refused.json()["detail"] == {
        "msg": "prefix: must be text",
        "kind": "ParamsError",
        "refused": {"prefix": "must be text"},
    }
    assert session.channels == {}
    for error, status in ((ProcessError("still loads"), 503), (StreamError("width is odd"), 400)):
        served.pipeline.refusal = error
        refused = await client.call("start")
        assert (refused.status_code, refused.json()["detail"]["msg"]) == (status, str(error))
        assert session.channels == {}
    served.pipeline.refusal = None
    assert (await client.call("start")).status_code == 200


async def test_refused_params_leave_the_stream_alone(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await _running(orchestrator, serve, client)
    refused = await client.call("update", {"params": {"prefix": 5}})
    assert refused.status_code == 400
    assert refused.json()["detail"]["refused"] == {"prefix": "must be text"}
    assert served.pipeline.state == "ONLINE"


async def test_callbacks_that_fail_once_are_made_again(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    await serve()
    await client.reserve(await registered(orchestrator))
    orchestrator.failing["POST /channels"] = 500
    starting = asyncio.create_task(client.call("start"))
    await until(lambda: "POST /channels" in orchestrator.callbacks, "the first try")
    orchestrator.failing.clear()
    assert (await starting).status_code == 200


async def test_channels_that_cannot_be_opened_refuse_the_start(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    orchestrator.failing["POST /channels"] = 401
    refused = await client.call("start")
    assert refused.status_code == 502
    assert "401" in refused.json()["detail"]["msg"]
    assert served.pipeline.started == []
    orchestrator.failing.clear()
    assert (await client.call("start")).status_code == 200


async def test_a_session_that_could_not_be_given_back_is_given_back_later(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    await _running(orchestrator, serve, client)
    orchestrator.failing["POST /stop"] = 404
    assert (await client.call("stop")).status_code == 200
    await until(lambda: orchestrator.callbacks.count("POST /stop") >= 2, "it is tried again with the heartbeats")
    orchestrator.failing.clear()
    runner = next(iter(orchestrator.runners.values()))
    await until(lambda: not runner.sessions, "the orchestrator has released the session")


async def test_the_latest_sixteen_that_could_not_be_given_back_are_remembered(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    orchestrator.interval = "1h"  # no heartbeat asks again meanwhile
    served = await serve()
    runner_id = await registered(orchestrator)
    held = orchestrator.runners[runner_id].sessions
    orchestrator.failing["POST /stop"] = 404
    kept = {}
    for count in range(1, 19):
        await client.reserve(runner_id)
        assert (await client.call("start")).status_code == 200
        assert (await client.call("stop")).status_code == 200
        await until(lambda count=count: orchestrator.callbacks.count("POST /stop") == count, "it was refused")  # type: ignore[misc]
        kept |= held
        held.clear()  # it has room for one, and would reserve no other
    sessions = served.live_runner.sessions
    await until(lambda: not sessions._telling, "the last one is remembered, too")
    orchestrator.failing.clear()
    held.update(kept)
    sessions.reconcile(frozenset(), frozenset(kept))
    await until(lambda: not sessions._retries, "it is asked again for each that is remembered")
    assert list(held) == list(kept)[:2]


async def test_a_pipeline_that_hangs_holds_nobody(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    with _hanging(served, "start_stream", "session.START_LIMIT_S"):
        refused = await client.call("start")
        assert refused.status_code == 504
        assert "within" in refused.json()["detail"]["msg"]
    assert (await client.call("start")).status_code == 200
    with _hanging(served, "update_params", "session.UPDATE_LIMIT_S"):
        assert (await client.call("update", {"params": {}})).status_code == 504
    with _hanging(served, "health", "live_runner.HEALTH_LIMIT_S"):
        health = await served.client.get("/live-runner/health")
        assert (health.status_code, health.json()["status"]) == (503, "TIMEOUT")
    with _hanging(served, "stop_stream", "session.STOP_LIMIT_S"):
        assert (await client.call("stop")).status_code == 200


@contextmanager
def _hanging(served: Served, method: str, limit: str) -> Iterator[None]:
    """Make one method of the pipeline hang; its limit is short only for so long."""
    served.pipeline.hang = method
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"runner.live_runner.{limit}", 0.05)
        yield
    served.pipeline.hang = ""


async def test_a_stop_in_the_middle_of_a_start(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    await client.reserve(await registered(orchestrator))
    served.pipeline.hang = "start_stream"
    starting = asyncio.create_task(client.call("start"))
    await until(lambda: "POST /channels" in orchestrator.callbacks, "the start has begun")
    session = orchestrator.runners["runner_1"].sessions[client.session_id]
    await until(lambda: session.channels, "channels are open")
    assert (await client.call("stop")).status_code == 200
    assert (await starting).status_code == 409
    served.pipeline.hang = ""
    await until(lambda: not orchestrator.runners["runner_1"].sessions, "the session is given back")


async def test_requests_that_did_not_come_by_the_orchestrator(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await _running(orchestrator, serve, client)
    good = orchestrator.session_headers("runner_1", client.session_id)

    async def refusal(**changed: str) -> tuple[int, str]:
        headers = {**good, **{f"Livepeer-Session-{name}": value for name, value in changed.items()}}
        answer = await served.client.post("/live-runner/start", headers={k: v for k, v in headers.items() if v})
        return answer.status_code, answer.json()["detail"]["msg"]

    assert (await refusal(Id=""))[0] == 400
    assert "Livepeer-Session-Token" in (await refusal(Token=""))[1]
    assert (await refusal(Token="guessed"))[0] == 403
    assert (await refusal(Id="a/../b"))[0] == 400
    assert (await refusal(Control="ftp://127.0.0.1/x"))[0] == 403
    status, message = await refusal(Control="http://169.254.169.254/latest", Id="other")
    assert status == 403
    assert "not the orchestrator" in message
    assert (await refusal(Control=f"{good['Livepeer-Session-Control']}?x=1"))[0] == 400


async def test_a_static_runner_calls_back_only_where_it_may(orchestrator: Orchestrator, serve: Serve) -> None:
    served = await serve(dynamic=False, addresses=StreamAddresses("10.0.0.0/8"))
    runner_id = orchestrator.register_static({"runner_url": served.url, "app": "x", "capacity": 1})
    client = Client(orchestrator)
    await client.reserve(runner_id)
    refused = await client.call("start")
    assert refused.status_code == 403
    assert "TRICKLE_ALLOW" in refused.json()["detail"]["msg"]
    assert orchestrator.callbacks == []
    await client.http.aclose()


async def test_bodies_are_limited_and_explained(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await _running(orchestrator, serve, client)
    headers = orchestrator.session_headers("runner_1", client.session_id)

    async def update(content: bytes) -> tuple[int, str]:
        answer = await served.client.post("/live-runner/update", content=content, headers=headers)
        return answer.status_code, answer.json()["detail"]["msg"]

    assert (await update(b"{"))[0] == 400
    assert "params" in (await update(b""))[1]
    assert '{"params": {...}}' in (await update(b'{"prefix": "x"}'))[1]
    assert (await update(b'{"params": {"prefix": "' + b"x" * (1 << 20) + b'"}}'))[0] == 400


async def test_health_is_200_exactly_while_sessions_can_be_served(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await serve()

    async def health() -> tuple[int, bool]:
        answer = await served.client.get("/live-runner/health")
        return answer.status_code, answer.json()["session"]

    for word, status in (("IDLE", 200), ("OK", 200), ("LOADING", 503), ("ERROR", 503)):
        served.pipeline.ready = word
        assert await health() == (status, False), word
    served.pipeline.ready = "IDLE"
    told = len(orchestrator.heartbeats)
    # One may be under way that says the word before.
    await until(lambda: len(orchestrator.heartbeats) > told + 1, "heartbeats say the word of now")
    await client.reserve(await registered(orchestrator))
    await client.call("start")
    # A pipeline that loads again in mid-stream comes back; ERROR ends the stream.
    for word, expected in (("OK", (200, True)), ("LOADING", (200, True)), ("ERROR", (503, False))):
        served.pipeline.ready = word
        assert await health() == expected, word


async def test_shutting_down_gives_the_session_back(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await _running(orchestrator, serve, client)
    await served.close()
    assert served.pipeline.stops == 1
    assert "POST /stop" in orchestrator.callbacks
    assert orchestrator.unregistered == ["runner_1"]


async def test_nothing_is_added_unless_it_is_turned_on(serve: Serve) -> None:
    served = await serve(dynamic=False, enabled=False)
    assert (await served.client.get("/live-runner/health")).status_code == 404
    assert (await served.client.post("/live-runner/start")).status_code == 404


async def test_openapi_describes_bodies_and_headers(serve: Serve) -> None:
    served = await serve(dynamic=False)
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {f"/live-runner/{name}" for name in ("start", "update", "stop", "health")}
    start = paths["/live-runner/start"]["post"]
    assert "params" in start["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {item["name"] for item in start["parameters"]} >= {"Livepeer-Session-Id", "Livepeer-Session-Control"}
    assert {"200", "400", "503"} <= set(start["responses"])
    assert paths["/live-runner/update"]["post"]["requestBody"]["required"] is True


async def test_many_sessions_leave_nothing_behind(orchestrator: Orchestrator, serve: Serve, client: Client) -> None:
    served = await serve()
    runner_id = await registered(orchestrator)
    tasks = []
    for _ in range(12):
        await client.reserve(runner_id)
        assert (await client.call("start")).status_code == 200
        assert (await client.call("stop")).status_code == 200
        await until(lambda: not orchestrator.runners[runner_id].sessions, "the session is given back")
        tasks.append(len(asyncio.all_tasks()))
    sessions = served.live_runner.sessions
    # The orchestrator knows of the last release before its answer is here.
    await until(lambda: not (sessions.ids() or sessions._telling or sessions._unreleased), "nothing is kept of them")
    await until(lambda: len(asyncio.all_tasks()) <= tasks[3] + 2, "tasks end")
    assert isinstance(served.live_runner._http[0], aiohttp.ClientSession)


async def test_an_end_that_comes_just_as_the_pipeline_answers_is_an_end(
    orchestrator: Orchestrator, serve: Serve, client: Client
) -> None:
    served = await _running(orchestrator, serve, client)
    session = served.live_runner.sessions._current
    assert session is not None
    answers = served.pipeline.status

    async def status() -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(partial(session.end, "just now", tell=False))
        return await answers()

    served.pipeline.status = status  # type: ignore[method-assign]
    await asyncio.wait_for(session.wait_free(), PATIENCE_S)


async def test_shutting_down_waits_for_nobody_for_long(
    orchestrator: Orchestrator, serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.live_runner.live_runner.CLOSE_LIMIT_S", 0.2)
    served = await _running(orchestrator, serve, client)
    orchestrator.slow_s = 600
    served.pipeline.hang = "stop_stream"
    await served.close()
    assert orchestrator.unregistered == ["runner_1"]
    served.pipeline.hang = ""
    await served.pipeline.stop_stream()

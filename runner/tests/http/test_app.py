"""The container's HTTP server with a real host: what it answers while all is well."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .app_process import PATIENCE_S, AppProcess, serving

pytestmark = pytest.mark.quick

TOKEN = "sesame-open-1"
RELAY = "http://127.0.0.1:9/ai/trickle/3f2a9c1e77aabbcc"
URLS = {"subscribe_url": RELAY, "publish_url": f"{RELAY}-out"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    folder = tmp_path_factory.mktemp("app")
    with serving(folder, MODEL_ID="noop", PIPELINE="live-video-to-video", AUTH_TOKEN=TOKEN, VERSION="7.8") as app:
        # It answers before the pipeline is ready.
        assert app.until("IDLE") == ["LOADING", "IDLE"]
        yield app


def get(url: str) -> httpx.Response:
    """Without the token."""
    return httpx.get(url, timeout=PATIENCE_S)


@pytest.fixture
def app(shared: AppProcess) -> AppProcess:
    shared.client.headers["Authorization"] = f"Bearer {TOKEN}"
    shared.until("IDLE")
    return shared


def detail(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()["detail"]


class TestOpenRoutes:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/version", {"pipeline": "live-video-to-video", "model_id": "noop", "version": "7.8"}),
            ("/health", {"status": "IDLE"}),
        ],
    )
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_they_need_no_token(self, app: AppProcess, path: str, body: dict[str, str], slash: str) -> None:
        answer = get(f"{app.url}{path}{slash}")
        assert (answer.status_code, answer.json()) == (200, body)
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
    def test_health_is_told_by_the_code_too(self, app: AppProcess, path: str) -> None:
        """In the other states: `studio/tests/functional/test_shipped_probes.py`."""
        answer = get(f"{app.url}{path}")
        assert (answer.status_code, answer.json()) == (200, {"status": "IDLE"})

    @pytest.mark.parametrize(("path", "key"), [("/hardware/info", "gpu_info"), ("/hardware/stats", "gpu_stats")])
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_hardware(self, app: AppProcess, path: str, key: str, slash: str) -> None:
        body = get(f"{app.url}{path}{slash}").json()
        assert list(body) == ["pipeline", "model_id", key]
        assert all(index.isdigit() and isinstance(gpu["memory_total"], int) for index, gpu in body[key].items())

    def test_metrics(self, app: AppProcess) -> None:
        answer = get(f"{app.url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert 'version{app="ai-runner",version="7.8"} 1.0\n' in answer.text
        assert app.metric('ai_runner_health{status="IDLE"}') == "1.0"
        assert app.metric('ai_runner_health{status="OK"}') == "0.0"
        assert app.metric("ai_runner_host_restarts_total") == "0.0"
        assert app.metric('ai_runner_state{state="OFFLINE"}') == "1.0"  # the host's own
        assert get(f"{app.url}/metrics/").status_code == 404

    def test_what_is_not_there_is_told_as_json_too(self, app: AppProcess) -> None:
        assert detail(get(f"{app.url}/nothing"), 404) == {"msg": "Not Found"}
        assert detail(get(f"{app.url}/live-video-to-video"), 405) == {"msg": "Method Not Allowed"}

    def test_it_listens_on_this_machine_alone(self, app: AppProcess) -> None:
        connections = psutil.Process(app.process.pid).net_connections("inet")
        listening = [each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
        assert not app.host().net_connections("inet")

    def test_it_is_light(self, app: AppProcess) -> None:
        mapped = {Path(each.path).name for each in psutil.Process(app.process.pid).memory_maps()}
        assert not [name for name in mapped if "torch" in name or "avcodec" in name or "multiarray" in name]


class TestStartRefused:
    @pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer schlüssel"])
    def test_without_the_token(self, app: AppProcess, given: str | None) -> None:
        headers = {"Authorization": given.encode()} if given else {}
        answer = httpx.post(f"{app.url}/live-video-to-video", json=URLS, headers=headers, timeout=PATIENCE_S)
        assert detail(answer, 401) == {"msg": "Invalid bearer token."}
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"model_id": "other"}, "this runner serves the model 'noop', not 'other'"),
            ({"params": {"width": 100}}, "width: Input should be a multiple of 64 (got 100)"),
            ({"subscribe_url": "file:///etc/passwd"}, "must begin with http:// or https://"),
            ({"publish_url": ""}, "is no URL"),
            ({"control_url": "http://"}, "names no host"),
            ({"events_url": "http://me:hunter2@127.0.0.1/x"}, "has a user or a password in it"),
            ({"params": {"x": "y" * 300_000}}, "too large"),
            ({"params": {"x": json.loads("[" * 40 + "]" * 40)}}, "levels deep"),
        ],
    )
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_with_the_reason_at_once(self, app: AppProcess, body: dict[str, Any], said: str, slash: str) -> None:
        answer = app.client.post(f"/live-video-to-video{slash}", json={**URLS, **body})
        assert said in detail(answer, 400)["msg"] or "must begin with" in detail(answer, 400)["msg"]
        assert "hunter2" not in answer.text
        assert app.health() == "IDLE"

    @pytest.mark.parametrize("value", ["NaN", "Infinity", '"\\ud800"'])
    def test_params_that_are_no_json(self, app: AppProcess, value: str) -> None:
        body = f'{{"subscribe_url": "{RELAY}", "publish_url": "{RELAY}-out", "params": {{"strength": {value}}}}}'
        answer = app.client.post("/live-video-to-video", content=body, headers={"content-type": "application/json"})
        assert "params are not JSON" in detail(answer, 400)["msg"]

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            (b"{}", ["body", "subscribe_url"]),
            (b'{"subscribe_url": "a", "publish_url": "b", "params": [1]}', ["body", "params"]),
            (b'{"subscribe_url": 7, "publish_url": "b"}', ["body", "subscribe_url"]),
            (b'{"subscribe_url": ', ["body", 18]),
            (b"", ["body"]),
        ],
    )
    def test_a_wrong_body_names_the_place(self, app: AppProcess, body: bytes, where: list[Any]) -> None:
        answer = app.client.post("/live-video-to-video", content=body, headers={"content-type": "application/json"})
        first = detail(answer, 422)[0]
        assert first["loc"] == where
        assert first.keys() == {"loc", "msg", "type"}

    def test_a_body_beyond_all_measure(self, app: AppProcess) -> None:
        deep = b'{"params":' * 200_000
        headers = {"content-type": "application/json"}
        assert (
            "larger than" in detail(app.client.post("/live-video-to-video", content=deep, headers=headers), 400)["msg"]
        )
        chunks = (b" " * 65536 for _ in range(20))  # no length is told
        answer = app.client.post("/live-video-to-video", content=chunks, headers=headers)
        assert "larger than" in detail(answer, 400)["msg"]
        nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
        assert detail(app.client.post("/live-video-to-video", content=nested, headers=headers), 400)

    def test_secrets_stay_out_of_answers_and_logs(self, app: AppProcess) -> None:
        secret = f"{RELAY.replace('3f2a', 'c0de')}?token=hunter2hunter2"
        app.start(subscribe_url=secret, publish_url="ftp://x", gateway_request_id="req-77")
        app.start(subscribe_url=RELAY, publish_url=secret.replace("http", "gopher"), model_id=f"Bearer {TOKEN}")
        for hidden in (TOKEN, "hunter2", "c0de9c1e77aabbcc", "3f2a9c1e77aabbcc"):
            assert hidden not in app.said
        assert "request_id=req-77" in app.said


def test_a_port_in_use_is_named_with_the_way_out(app: AppProcess, tmp_path: Path) -> None:
    from .app_process import refused

    port = app.url.rpartition(":")[2]
    code, said = refused(tmp_path, MODEL_ID="noop", PORT=port)
    assert code == 1
    assert said == (
        f"error: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "--port (or PORT) takes another one, 0 a free one\n"
    )


def test_half_a_request_holds_nobody_up(app: AppProcess) -> None:
    with socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2]))) as slow:
        slow.sendall(
            b"POST /live-video-to-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 900\r\n\r\n{"
        )
        assert app.health() == "IDLE"

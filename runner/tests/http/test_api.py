"""The runner host as a process of its own, asked over real sockets."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runner.errors import RunnerError
from runner.live import infer
from runner.live.events import (
    Event,
    HostStarted,
    LoadStarted,
    LoadSucceeded,
    MetricsTaken,
    ParamsChanged,
    SourcesChanged,
    StateChanged,
    StreamEnded,
    StreamStarted,
)

from .infer_process import PATIENCE_S, HostProcess, gone, of, running

PIPELINE = """
from pydantic import ConfigDict, Field
from runner.live.pipelines import BaseParams

class BrightnessParams(BaseParams):
    model_config = ConfigDict(extra="forbid")
    gain: float = Field(default=1.0, ge=0, le=4)

def brighten(frame, params: BrightnessParams):
    return frame * params.gain
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "effects.py").write_text(PIPELINE)
    (folder / "notes.txt").write_text("no video in here\n" * 100)
    return folder


@pytest.fixture(scope="module")
def shared(project: Path) -> Iterator[HostProcess]:
    """One host for the tests that leave it as they found it."""
    flags = ("--http-port", "0", "--stream-protocol", "local", "--pipeline-import", "effects:brighten")
    with running(project, *flags) as host:
        host.wait_ready()
        yield host


@pytest.fixture
def host(shared: HostProcess) -> Iterator[HostProcess]:
    shared.until(lambda status: status["state"] == "OFFLINE")  # only then are the initial params in force again
    yield shared
    shared.client.delete("/api/stream").raise_for_status()
    shared.client.post("/api/stream/pause", json={"paused": False}).raise_for_status()
    shared.client.post("/api/params", json={}).raise_for_status()


class TestStatus:
    def test_fields_are_those_of_the_contract(self, host: HostProcess) -> None:
        host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
        host.client.post("/api/params", json={"gain": 2}).raise_for_status()
        status = host.until(lambda status: status["inference_status"]["fps"] > 0 and status["state"] == "ONLINE")
        assert list(status) == [
            "type", "pipeline", "start_time", "state", "last_state_update_time", "input_status", "inference_status",
        ]  # fmt: skip
        assert list(status["input_status"]) == ["last_input_time", "fps"]
        assert list(status["inference_status"]) == [
            "last_output_time", "fps", "last_params_update_time", "last_params", "last_params_hash",
            "last_error_time", "last_error", "last_restart_time", "last_restart_logs", "restart_count",
        ]  # fmt: skip
        assert (status["type"], status["pipeline"], status["state"]) == ("status", "brighten", "ONLINE")
        times = [
            status["start_time"], status["last_state_update_time"], status["input_status"]["last_input_time"],
            status["inference_status"]["last_output_time"], status["inference_status"]["last_params_update_time"],
        ]  # fmt: skip
        assert all(type(at) is int for at in times)
        assert max(times) <= time.time() * 1000
        assert min(times) == status["start_time"]
        assert status["inference_status"]["last_params"]["gain"] == 2
        assert len(status["inference_status"]["last_params_hash"]) == 32
        assert status["inference_status"]["restart_count"] == 0
        assert status["inference_status"]["last_restart_logs"] is None

    def test_without_a_stream_it_is_offline(self, host: HostProcess) -> None:
        host.until(lambda status: status["state"] == "OFFLINE" and status["inference_status"]["fps"] == 0)


class TestParams:
    def test_good_ones_are_taken(self, host: HostProcess) -> None:
        answer = httpx.post(f"{host.url}/api/params", json={"gain": 3}, timeout=PATIENCE_S)
        assert (answer.status_code, answer.text) == (200, "Params updated successfully")

    def test_who_takes_json_is_told_all_that_are_in_force(self, host: HostProcess) -> None:
        params = host.client.post("/api/params", json={"gain": 3}).json()["params"]
        assert (params["gain"], params["width"], params["show_reloading_frame"]) == (3.0, 512, True)

    def test_status_has_them_as_they_were_sent_with_their_hash(self, host: HostProcess) -> None:
        """Not as the params class made them: the sender compares the hash with its own."""
        for sent in ({"gain": 3}, {"gain": 2, "height": 512}, {}):
            host.client.post("/api/params", json=sent).raise_for_status()
            inference = host.client.get("/api/status").json()["inference_status"]
            assert inference["last_params"] == sent
            digest = hashlib.md5(json.dumps(sent, sort_keys=True).encode()).hexdigest()
            assert inference["last_params_hash"] == digest

    @pytest.mark.parametrize(
        ("params", "field", "said"),
        [
            ({"gain": 9}, "gain", "less than or equal to 4 (got 9)"),
            ({"gian": 1}, "gian", "Extra"),
            ({"width": 100}, "width", "100"),
        ],
    )
    def test_bad_ones_are_named_and_the_old_ones_stay(
        self, host: HostProcess, params: dict[str, Any], field: str, said: str
    ) -> None:
        host.client.post("/api/params", json={"gain": 0.5}).raise_for_status()
        answer = host.client.post("/api/params", json=params)
        assert answer.status_code == 400
        detail = answer.json()["detail"]
        assert detail["kind"] == "ParamsError"
        assert said in detail["refused"][field]
        assert field in detail["msg"]
        assert host.client.get("/api/status").json()["inference_status"]["last_params"]["gain"] == 0.5

    def test_the_network_is_told_in_text(self, host: HostProcess) -> None:
        answer = httpx.post(f"{host.url}/api/params", json={"gain": 9}, timeout=PATIENCE_S)
        assert answer.status_code == 400
        assert answer.text.startswith("Error updating params: ")
        assert "gain" in answer.text

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_what_a_page_of_another_site_can_send_unasked_is_refused(self, host: HostProcess, kind: str) -> None:
        answer = host.client.post("/api/params", content=b'{"gain": 2}', headers={"content-type": kind} if kind else {})
        assert answer.status_code == 422
        assert "content-type: application/json" in answer.json()["detail"]["msg"]

    def test_a_route_that_is_none_or_not_by_that_method_is_refused(self, host: HostProcess) -> None:
        assert host.client.get("/api/nothing").status_code == 404
        refused = host.client.get("/api/params")
        assert refused.status_code == 405
        assert refused.json()["detail"]["msg"] == "Method Not Allowed"

    @pytest.mark.parametrize("body", [b"{", b"[1]", b"7", b"", b"\xff", b"[" * 100_000])
    def test_what_is_no_object_is_refused(self, host: HostProcess, body: bytes) -> None:
        answer = host.client.post("/api/params", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["detail"]["msg"]

    def test_another_size_begins_the_stream_again(self, host: HostProcess) -> None:
        with host.news() as events:
            host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
            host.client.post("/api/params", json={"width": 384, "height": 448}).raise_for_status()
            sizes = [
                (started.width, started.height) for started in (of(StreamStarted, events), of(StreamStarted, events))
            ]
        assert sizes == [(512, 512), (384, 448)]


class TestNetworkStart:
    def start(self, host: HostProcess, **body: Any) -> httpx.Response:
        """As the network does, which is answered with text."""
        return httpx.post(f"{host.url}/api/live-video-to-video", json=body, timeout=PATIENCE_S)

    def test_a_local_source_starts(self, host: HostProcess) -> None:
        answer = self.start(
            host, subscribe_url="pattern:320x240@30", publish_url="", request_id="r1", params={"gain": 2}
        )
        assert (answer.status_code, answer.text) == (200, "Stream started successfully")
        status = host.until(lambda status: status["inference_status"]["fps"] > 0)
        assert status["inference_status"]["last_params"] == {"gain": 2}
        self.start(host, subscribe_url="pattern:320x240@30", publish_url="").raise_for_status()
        assert host.client.get("/api/status").json()["inference_status"]["last_params"] == {}

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"subscribe_url": "nothing.mp4", "publish_url": ""}, "nothing.mp4"),
            ({"subscribe_url": "notes.txt", "publish_url": ""}, "notes.txt"),
            ({"subscribe_url": "pattern", "publish_url": "no/such/folder/out.mp4"}, "no/such/folder"),
            ({"subscribe_url": "pattern", "publish_url": "", "params": {"gain": 9}}, "gain"),
            ({"publish_url": ""}, "subscribe_url: Field required"),
        ],
    )
    def test_what_cannot_start_says_why_in_text(self, host: HostProcess, body: dict[str, Any], said: str) -> None:
        answer = self.start(host, **body)
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.startswith("Error starting stream: ")
        assert said in answer.text

    @pytest.mark.parametrize(
        ("body", "status", "kind", "refused"),
        [
            ({"subscribe_url": "pattern", "publish_url": "", "params": {"gain": 9}}, 400, "ParamsError", {"gain"}),
            ({"subscribe_url": "nothing.mp4", "publish_url": ""}, 400, "SourceError", set()),
            ({"publish_url": ""}, 422, "BadRequest", set()),
        ],
    )
    def test_who_takes_json_is_told_what_kind_of_refusal_it_is(
        self, host: HostProcess, body: dict[str, Any], status: int, kind: str, refused: set[str]
    ) -> None:
        answer = host.client.post("/api/live-video-to-video", json=body)
        detail = answer.json()["detail"]
        assert (answer.status_code, detail["kind"], set(detail["refused"])) == (status, kind, refused)

    def test_a_new_start_takes_the_place_of_the_running_stream(self, host: HostProcess) -> None:
        with host.news() as events:
            for size in ("320x240", "640x480"):
                assert self.start(host, subscribe_url=f"pattern:{size}@30", publish_url="").is_success
            assert [of(StreamStarted, events).source_width for _ in range(2)] == [320, 640]
        host.until(lambda status: status["inference_status"]["fps"] > 0)


class TestStream:
    @pytest.mark.quick
    def test_it_ends_by_itself_and_counts(self, host: HostProcess) -> None:
        body = {"source": "pattern:320x240@30", "policy": "lossless", "paced": False, "max_frames": 12}
        with host.news() as events:
            answer = host.client.post("/api/stream", json=body)
            assert answer.json() == {"source": of(StreamStarted, events).source, "width": 320, "height": 240}
            ended = of(StreamEnded, events)
        assert (ended.error, ended.frames_in, ended.frames_out) == ("", 12, 12)

    def test_one_that_cannot_be_opened_leaves_the_running_one(self, host: HostProcess) -> None:
        host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
        before = host.until(lambda status: status["inference_status"]["fps"] > 0)
        answer = host.client.post("/api/stream", json={"source": "notes.txt"})
        assert answer.status_code == 400
        assert answer.json()["detail"]["kind"] == "SourceError"
        for source, code in (("notes.txt", 400), ("pattern:99999x2", 400), ("pattern:640x480", 200)):
            assert host.client.post("/api/stream/check", json={"source": source}).status_code == code
        last = before["inference_status"]["last_output_time"]
        host.until(lambda status: status["inference_status"]["last_output_time"] > last + 500)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "source"),
            ({"source": "pattern", "policy": "all"}, "policy"),
            ({"source": "pattern", "max_frames": 0}, "max_frames"),
        ],
    )
    def test_a_wrong_request_names_the_field(self, host: HostProcess, body: dict[str, Any], field: str) -> None:
        answer = host.client.post("/api/stream", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"]["msg"].startswith(f"{field}: ")

    def test_pause_holds_the_source(self, host: HostProcess) -> None:
        host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
        host.until(lambda status: status["inference_status"]["fps"] > 0)
        assert host.client.post("/api/stream/pause", json={"paused": True}).json() == {"paused": True}
        held = host.until(lambda status: status["input_status"]["fps"] == 0)
        assert host.client.post("/api/stream/pause", json={"paused": False}).json() == {"paused": False}
        last = held["input_status"]["last_input_time"]
        host.until(lambda status: status["input_status"]["last_input_time"] > last)

    def test_delete_ends_it_and_again_is_no_error(self, host: HostProcess) -> None:
        host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
        for _ in range(2):
            assert host.client.delete("/api/stream").status_code == 200


class TestReload:
    def test_it_tells_why_and_the_new_code_serves(self, host: HostProcess) -> None:
        with host.events() as events:
            first = of(LoadSucceeded, events)
            assert host.client.post("/api/reload", json={"reason": "saved", "files": ["/a.py"]}).is_success
            started = of(LoadStarted, events)
            done = of(LoadSucceeded, events)
        assert (started.reason, started.files, started.serving) == ("saved", ("/a.py",), first.revision)
        assert done.revision == started.revision == first.revision + 1
        assert not psutil.pid_exists(first.pid)


class TestEvents:
    def test_a_late_listener_gets_the_whole_picture(self, host: HostProcess) -> None:
        host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
        host.client.post("/api/params", json={"gain": 2}).raise_for_status()
        host.until(lambda status: status["inference_status"]["fps"] > 0)
        wanted = {StateChanged, LoadStarted, LoadSucceeded, SourcesChanged, ParamsChanged, StreamStarted, MetricsTaken}
        with host.events() as events:
            first = next(events)
            assert isinstance(first, HostStarted)
            assert first.pid == host.process.pid
            assert first.pipeline_import == "effects:brighten"
            seen: dict[type, Event] = {}
            while not wanted <= set(seen):
                event = next(events)
                seen[type(event)] = event
        params = seen[ParamsChanged]
        assert isinstance(params, ParamsChanged)
        assert params.params["gain"] == 2
        sources = seen[SourcesChanged]
        assert isinstance(sources, SourcesChanged)
        assert [Path(file).name for file in sources.files] == ["effects.py"]

    def test_listeners_do_not_disturb_each_other_and_one_that_does_not_read_nobody(self, host: HostProcess) -> None:
        with host.events(), host.events() as first, host.events() as second:  # the outermost is never read
            host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
            for _ in range(30):
                host.client.post("/api/params", json={"gain": 1, "show_reloading_frame": True}).raise_for_status()
            assert of(StreamStarted, first).source == of(StreamStarted, second).source
            for events in (first, second):
                of(MetricsTaken, events)
                of(ParamsChanged, events)


class TestSockets:
    def test_by_default_only_this_machine_can_connect(self, shared: HostProcess) -> None:
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(shared.process.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]
        assert shared.url.startswith("http://127.0.0.1:")

    def test_a_unix_socket_is_used_also_an_abandoned_one_and_removed(self, project: Path, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as abandoned:
            abandoned.bind(str(path))
        with running(project, "--http-socket", str(path)) as host:
            assert host.url == f"unix:{path}"
            assert host.client.get("/api/status").json()["pipeline"] == "noop"
            assert not psutil.Process(host.process.pid).net_connections("inet")
            second = HostProcess(tmp_path, "--http-socket", str(path))
            assert second.ended() == 2
            assert "another host does" in second.log.read_text()
            second.close()
            assert host.client.get("/api/status").is_success
        assert not path.exists()
        assert tmp_path.exists()


def use(arguments: list[str]) -> None:
    """What the host makes of its arguments, up to the socket that it listens on."""
    options = infer._parser().parse_args(arguments)
    infer._spec(options)
    infer._bind(options).close()


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--pipeline", '{"pipeline_cls": '], "--pipeline is not JSON"),
            (["--pipeline", '{"name": "x"}'], "pipeline_cls: Field required"),
            (["--pipeline", "nope"], "'nope' is no built-in pipeline"),
            (["--pipeline-import", "nocolon"], "nocolon"),
            (["--initial-params", "{gain: 1}"], "--initial-params is not JSON"),
            (["--initial-params", "[1]"], "--initial-params must be a JSON object, not [1]"),
            (["--http-socket", "/no/such/folder/s"], "cannot listen on /no/such/folder/s: No such file"),
        ],
    )
    def test_what_is_wrong_is_reported_in_one_line(
        self, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("PIPELINE_IMPORT", "PARAMS_IMPORT"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises((RunnerError, ValueError)) as refused:
            use(["--http-port", "0", *arguments])
        assert said in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1

    def test_it_exits_with_2_and_prints_that_line_alone(self, project: Path) -> None:
        host = HostProcess(project, "--http-port", "0", "--pipeline", "nope")
        try:
            assert host.ended() == 2
            written = host.log.read_text()
        finally:
            host.close()
        assert written.startswith("error: ")
        assert "'nope' is no built-in pipeline" in written
        assert len(written.splitlines()) == 1

    def test_a_port_in_use_is_named_with_the_way_out(self, project: Path, shared: HostProcess) -> None:
        port = shared.url.rpartition(":")[2]
        host = HostProcess(project, "--http-port", port)
        try:
            assert host.ended() == 2
            written = host.log.read_text()
        finally:
            host.close()
        assert port in written
        assert "Address already in use" in written
        assert "--http-port 0 takes a free one" in written

    def test_initial_params_that_the_pipeline_refuses_fail_its_load(self, project: Path) -> None:
        arguments = ("--pipeline-import", "effects:brighten", "--initial-params", '{"gain": 9}')
        with running(project, "--http-port", "0", "--studio", *arguments, stdin=subprocess.PIPE) as host:
            status = host.until(lambda status: status["state"] == "ERROR")
        assert "gain: Input should be less than or equal to 4 (got 9)" in status["inference_status"]["last_error"]

    def test_in_production_a_pipeline_that_refuses_its_params_is_tried_without_them(self, project: Path) -> None:
        arguments = ("--pipeline-import", "effects:brighten", "--initial-params", '{"gain": 9}')
        with running(project, "--http-port", "0", *arguments) as host:
            status = host.until(lambda status: status["state"] == "OFFLINE")
        assert "gain" in status["inference_status"]["last_error"]

    def test_a_load_that_takes_too_long_is_given_up(self, project: Path) -> None:
        (project / "sleepy.py").write_text("import time\nwhile True: time.sleep(0.1)\ndef f(frame): return frame\n")
        with running(project, "--http-port", "0", "--load-timeout", "1", "--pipeline-import", "sleepy:f") as host:
            status = host.until(lambda status: status["inference_status"]["last_error"])
        assert "not ready after 1 s" in status["inference_status"]["last_error"]


class TestEnd:
    def test_a_signal_ends_it_in_order_and_its_listeners_with_it(self, project: Path, tmp_path: Path) -> None:
        read: list[Event] = []

        def listen() -> None:
            with host.events() as events:
                read.extend(events)

        (project / "tidy.py").write_text(
            "import os, subprocess\n"
            "class Tidy:\n"
            "    def on_ready(self, params=None): subprocess.Popen(['sleep', '1000'])\n"
            "    def transform(self, frame): return frame\n"
            "    def on_stop(self): open(os.environ['STOPPED'], 'w').close()\n"
        )
        with running(
            project, "--http-port", "0", "--pipeline-import", "tidy:Tidy", STOPPED=str(tmp_path / "stopped")
        ) as host:
            listening = threading.Thread(target=listen)
            listening.start()
            host.wait_ready()
            host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
            host.until(lambda status: status["inference_status"]["fps"] > 0)
            below = host.descendants()
            assert "sleep" in [process.name() for process in below]
            host.process.terminate()
            assert host.ended() == 0
            assert gone(below)
            listening.join(PATIENCE_S)
            assert not listening.is_alive()
        assert (tmp_path / "stopped").exists()
        assert isinstance(read[0], HostStarted)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_each_signal_ends_it_while_it_loads_too(self, project: Path, number: int) -> None:
        with running(project, "--http-port", "0") as host:
            host.process.send_signal(number)
            assert host.ended() == 0

    def test_a_pipeline_that_does_not_let_go_is_killed_with_all_it_started(self, project: Path) -> None:
        (project / "stuck.py").write_text(
            "import signal, subprocess, time\n"
            "class Stuck:\n"
            "    def on_ready(self, params=None): subprocess.Popen(['sleep', '1000'])\n"
            "    def transform(self, frame):\n"
            "        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
            "        time.sleep(1000)\n"
        )
        with running(project, "--http-port", "0", "--pipeline-import", "stuck:Stuck", patient=False) as host:
            host.wait_ready()
            host.client.post("/api/stream", json={"source": "pattern:320x240@30"}).raise_for_status()
            host.until(lambda status: status["input_status"]["fps"] > 0)
            below = host.descendants()
            host.process.terminate()
            assert host.ended() in (0, 1)  # in order, or when the time for that was up
            assert gone(below)

    def test_with_studio_stdout_names_each_pipeline_process_and_it_ends_when_stdin_closes(
        self, project: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "run"
        folder.mkdir(mode=0o700)
        with running(project, "--studio", "--http-socket", str(folder / "s"), stdin=subprocess.PIPE) as host:
            assert folder.stat().st_mode & 0o077 == 0  # only the studio's own user can connect
            host.wait_ready()
            host.client.post("/api/reload", json={}).raise_for_status()
            with host.events() as events:
                second = next(event for event in events if isinstance(event, LoadSucceeded) and event.revision == 2)
            below = host.descendants()
            assert host.process.stdin is not None
            host.process.stdin.close()
            assert host.ended() == 0
            assert gone(below)
            assert host.process.stdout is not None
            facts = [json.loads(line) for line in host.process.stdout]
        assert {"revision": 2, "process": second.pid} in facts
        assert not folder.exists()

    def test_with_studio_it_ends_also_when_nobody_was_there_from_the_start(self, project: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        host = HostProcess(project, "--studio", "--http-socket", str(folder / "s"))  # stdin is at its end
        assert host.process.stdout is not None
        host.process.stdout.close()
        try:
            assert host.ended() == 0
            assert "Traceback" not in host.log.read_text()
        finally:
            host.close()
        assert not folder.exists()

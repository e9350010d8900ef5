"""The container's HTTP server when its host or its pipeline goes wrong, and when it ends itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from .app_process import PATIENCE_S, AppProcess, refused, serving
from .infer_process import gone

EFFECTS = """
import os, time

def effect(frame, params=None):
    while os.path.exists("blocked"):
        open("inside", "w").close()
        time.sleep(0.02)
    return frame
"""
# Each host waits at its start while there is a file `held`. Python imports this at its own start.
HELD = """
import os, sys, time
while "runner.live.infer" in sys.orig_argv and os.path.exists("held"):
    time.sleep(0.02)
"""
# The server as it is, but for how often it looks and how long it pauses. It waits long for what a busy machine is
# slow with, and logs which starts wait for their host. With each SIGUSR1 it loses a bit more of its patience with the
# host that runs.
WATCHED = """
import signal, sys
from runner.pipelines import live_video_to_video as supervision

def log(text):
    print(text, file=sys.stderr, flush=True)

def lose_patience(*_):
    limits = stages.pop(0)
    vars(supervision).update(limits)
    log(f"test: {limits}")

async def start_host(pipeline):
    vars(supervision).update(production)
    return await start_next_host(pipeline)

async def begin(pipeline, body):
    if not pipeline._up.is_set():
        log("test: a start waits for the host")
    await begin_stream(pipeline, body)

supervision.UP_LIMIT_S = 60.0
supervision.ASK_EVERY_S, supervision.RESTART_PAUSE_S = 0.2, 0.1
stages = [{"ASK_LIMIT_S": 0.2}, {"STATUS_KEPT_S": 0.0}, {"HUNG_AFTER_S": 1.0}]
production = {name: getattr(supervision, name) for stage in stages for name in stage}
watched = supervision.LiveVideoToVideoPipeline
start_next_host, watched._start_host = watched._start_host, start_host
begin_stream, watched._begin = watched._begin, begin
signal.signal(signal.SIGUSR1, lose_patience)
from runner.main import main
main()
"""
LOCAL = {"subscribe_url": "pattern:320x240@30", "publish_url": ""}
FORMS = {
    "subscribe_url": "",
    "publish_url": "",
    "control_url": "",
    "events_url": "",
    "request_id": "",
    "manifest_id": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "effects.py").write_text(EFFECTS)
    (tmp_path / "sitecustomize.py").write_text(HELD)
    return tmp_path


def watched(project: Path, **environ: str) -> contextmanager[AppProcess]:  # type: ignore[type-arg]
    """The server that is `WATCHED`; hosts can be held at their start."""
    return serving(project, "-c", WATCHED, PYTHONPATH=str(project), **environ)  # type: ignore[return-value]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def held(project: Path) -> Iterator[None]:
    """No host gets beyond its first line."""
    (project / "held").touch()
    yield
    (project / "held").unlink()


@pytest.mark.timeout(300)  # four loads of a pipeline
def test_streams_hosts_that_go_wrong_and_the_end(project: Path) -> None:
    """One server through all that it has to live through: each part leaves it ready for the next one."""
    names = {"PIPELINE_IMPORT": "effects:effect", "MODEL_ID": "my-model", "STREAM_PROTOCOL": "local"}
    with watched(project, **names, LOG_FORMAT="json") as app:
        app.until("IDLE")
        a_pipeline_named_by_import_has_the_model_id(app)
        of_two_starts_at_once_both_are_begun_one_after_the_other(app)
        health_is_not_idle_between_the_start_and_the_end_of_a_stream(app)
        a_pipeline_that_blocks_does_not_block_health(app, project)
        a_host_that_hangs_is_told_after_a_while_and_then_ended_by_force(app)
        a_host_that_dies_is_started_again_and_nothing_of_it_is_left(app, project)
        a_start_while_the_host_comes_up_waits_for_it(app, project)
        sigterm_ends_it_in_order_with_a_stream_that_runs(app)


def a_pipeline_named_by_import_has_the_model_id(app: AppProcess) -> None:
    assert app.client.get("/version").json()["model_id"] == "my-model"
    assert app.start(**LOCAL, model_id="stuck").status_code == 400
    assert app.start(**LOCAL, model_id="my-model").json() == FORMS


def of_two_starts_at_once_both_are_begun_one_after_the_other(app: AppProcess) -> None:
    before = float(app.metric("ai_runner_streams_total"))
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda _: app.start(**LOCAL), range(2)))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert float(app.metric("ai_runner_streams_total")) == before + 2
    assert app.health() == "OK"


def health_is_not_idle_between_the_start_and_the_end_of_a_stream(app: AppProcess) -> None:
    assert app.start(**LOCAL).status_code == 200
    assert {app.health() for _ in range(30)} == {"OK"}


def a_pipeline_that_blocks_does_not_block_health(app: AppProcess, project: Path) -> None:
    (project / "blocked").touch()
    until((project / "inside").exists)
    assert [app.client.get("/health").status_code for _ in range(5)] == [200] * 5
    assert app.client.get("/hardware/info").status_code == 200
    (project / "blocked").unlink()


def a_host_that_hangs_is_told_after_a_while_and_then_ended_by_force(app: AppProcess) -> None:
    assert app.start(**LOCAL).status_code == 200
    assert app.health() == "OK"
    before = app.below()
    app.host().suspend()
    for answers_late, (code, body) in {
        "ASK_LIMIT_S": (200, {"status": "OK"}),  # one that is late does not count
        "STATUS_KEPT_S": (500, {"detail": {"msg": "Failed to retrieve pipeline status."}}),
    }.items():
        lose_patience(app, answers_late)
        answer = app.client.get("/health")
        assert (answer.status_code, answer.json()) == (code, body)
    lose_patience(app, "HUNG_AFTER_S")
    while (answer := app.client.get("/health")).status_code != 200:
        pass
    assert answer.json() == {"status": "LOADING"}
    assert gone(before)
    assert "has not answered for 1 s and is ended by force" in app.said
    app.until("IDLE")


def lose_patience(app: AppProcess, limit: str) -> None:
    app.process.send_signal(signal.SIGUSR1)
    until(lambda: f"test: {{'{limit}'" in app.said)


def a_host_that_dies_is_started_again_and_nothing_of_it_is_left(app: AppProcess, project: Path) -> None:
    before = app.below()
    assert app.pipeline() in before
    restarts = float(app.metric("ai_runner_host_restarts_total"))
    with held(project):
        app.host().send_signal(signal.SIGKILL)
        app.until("LOADING")
        assert app.client.post("/live-video-to-video", json={**LOCAL, "model_id": "no"}).status_code == 400
    app.until("IDLE")
    assert gone(before)
    assert float(app.metric("ai_runner_host_restarts_total")) == restarts + 1
    assert '"level": "ERROR", "logger": "runner.pipelines.live_video_to_video"' in app.said
    assert "was killed by SIGKILL; it is started again in 0." in app.said


def a_start_while_the_host_comes_up_waits_for_it(app: AppProcess, project: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        with held(project):
            app.host().send_signal(signal.SIGKILL)
            app.until("LOADING")
            starting = beside.submit(app.start, **LOCAL)
            until(lambda: "test: a start waits for the host" in app.said)
            assert not starting.done()
        assert starting.result().status_code == 200
    assert app.until("OK") in (["LOADING", "OK"], ["OK"])


def sigterm_ends_it_in_order_with_a_stream_that_runs(app: AppProcess) -> None:
    app.pipeline()
    before = app.below()
    app.process.terminate()
    assert app.ended() == 0
    assert gone(before)
    assert app.left() == []
    assert "Traceback" not in app.said


def test_a_host_that_never_comes_up_ends_the_server(project: Path) -> None:
    (project / "broken").mkdir()
    (project / "broken" / "runner.py").write_text("raise SystemExit('no host today')")  # found before the real one
    hide = f"import os; os.environ['PYTHONPATH'] = {str(project / 'broken')!r}"
    code, said = refused(project, "-c", f"{hide}\n{WATCHED}", MODEL_ID="noop")
    assert code == 1
    assert said.count("no host today") == 4
    assert said.count("exited with code 1; it is started again") == 3
    assert "this process ends with exit code 1" in said
    assert "Traceback" not in said


def test_a_server_that_is_killed_leaves_no_process(project: Path) -> None:
    with serving(project, MODEL_ID="noop") as app:
        app.pipeline()
        before = app.below()
        app.process.kill()
        app.ended()
        assert gone(before)


def test_sigterm_while_the_host_comes_up(project: Path) -> None:
    with ThreadPoolExecutor(1) as beside, held(project), watched(project, MODEL_ID="noop") as app:
        before = [psutil.Process(app.process.pid), *app.below()]
        assert app.health() == "LOADING"
        urls = {"subscribe_url": "http://127.0.0.1:9/a", "publish_url": "http://127.0.0.1:9/b"}
        starting = beside.submit(app.start, **urls)
        until(lambda: "test: a start waits for the host" in app.said)
        app.process.terminate()
        assert starting.result().json() == {"detail": {"msg": "the runner is shutting down; ask another one"}}
        assert app.ended() == 0
        assert gone(before)
        assert "Traceback" not in app.said

"""The container's HTTP server when its host or its pipeline goes wrong, and when it ends itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from .app_process import AppProcess, refused, serving
from .infer_process import gone

EFFECTS = """
import os, time

def effect(frame, params=None):
    return frame

def stuck(frame):
    time.sleep(1000)
"""
# The server with less patience than in production.
HASTY = """
import sys
from runner.pipelines import live_video_to_video as supervision
supervision.STATUS_KEPT_S, supervision.ASK_EVERY_S, supervision.HUNG_AFTER_S = 3.0, 0.5, 4.5
supervision.RESTART_PAUSE_S = 0.1
from runner.main import main
main()
"""
LOCAL = {"subscribe_url": "pattern:320x240@30", "publish_url": ""}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "effects.py").write_text(EFFECTS)
    return tmp_path


@contextmanager
def loaded(project: Path, *command: str, pipeline: str = "effects:effect", **environ: str) -> Iterator[AppProcess]:
    """A server whose pipeline is named by import, whose streams are local, and which is ready for one."""
    names = {"PIPELINE_IMPORT": pipeline, "MODEL_ID": "my-model", "STREAM_PROTOCOL": "local"}
    with serving(project, *command, **names, **environ) as app:
        app.until("IDLE")
        yield app


def test_a_pipeline_named_by_import_has_the_model_id(project: Path) -> None:
    with loaded(project) as app:
        assert app.client.get("/version").json()["model_id"] == "my-model"
        assert app.start(**LOCAL, model_id="stuck").status_code == 400
        assert app.start(**LOCAL, model_id="my-model").json() == {
            "subscribe_url": "", "publish_url": "", "control_url": "", "events_url": "",
            "request_id": "", "manifest_id": "",
        }  # fmt: skip


def test_health_is_not_idle_between_the_start_and_the_end_of_a_stream(project: Path) -> None:
    with loaded(project) as app:
        assert app.start(**LOCAL).status_code == 200
        assert {app.health() for _ in range(30)} == {"OK"}


def test_of_two_starts_at_once_both_are_begun_one_after_the_other(project: Path) -> None:
    with loaded(project) as app:
        with ThreadPoolExecutor(2) as both:
            answers = list(both.map(lambda _: app.start(**LOCAL), range(2)))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert app.metric("ai_runner_streams_total") == "2.0"
        assert app.health() == "OK"


def test_a_pipeline_that_blocks_does_not_block_health(project: Path) -> None:
    with loaded(project, pipeline="effects:stuck") as app:
        assert app.start(**LOCAL).status_code == 200
        assert [app.client.get("/health", timeout=4).status_code for _ in range(5)] == [200] * 5
        assert app.client.get("/hardware/info", timeout=4).status_code == 200


def test_a_host_that_hangs_is_told_after_a_while_and_then_ended_by_force(project: Path) -> None:
    with loaded(project, "-c", HASTY) as app:
        assert app.start(**LOCAL).status_code == 200
        before = app.below()
        app.host().suspend()
        answers = [app.client.get("/health", timeout=5)]
        assert answers[0].status_code == 200  # one that is late does not count
        while answers[-1].status_code == 200:
            answers.append(app.client.get("/health", timeout=5))
        assert answers[-1].json() == {"detail": {"msg": "Failed to retrieve pipeline status."}}
        assert answers[-1].status_code == 500
        while (answer := app.client.get("/health", timeout=5)).status_code != 200:
            pass
        assert answer.json() == {"status": "LOADING"}
        assert gone(before)
        app.until("IDLE")
        assert "has not answered for 4 s and is ended by force" in app.said


def test_a_host_that_dies_is_started_again_and_nothing_of_it_is_left(project: Path) -> None:
    with loaded(project, LOG_FORMAT="json") as app:
        before = app.below()
        assert app.pipeline() in before
        app.host().send_signal(signal.SIGKILL)
        app.until("LOADING")
        assert app.client.post("/live-video-to-video", json={**LOCAL, "model_id": "no"}, timeout=9).status_code == 400
        app.until("IDLE")
        assert gone(before)
        assert app.metric("ai_runner_host_restarts_total") == "1.0"
        assert '"level": "ERROR", "logger": "runner.pipelines.live_video_to_video"' in app.said
        assert "was killed by SIGKILL; it is started again in 0.5 s" in app.said


def test_a_start_while_the_host_comes_up_waits_for_it(project: Path) -> None:
    with loaded(project) as app:
        app.host().send_signal(signal.SIGKILL)
        app.until("LOADING")
        assert app.start(**LOCAL).status_code == 200
        assert app.until("OK") in (["LOADING", "OK"], ["OK"])


def test_sigterm_ends_it_in_order_with_a_stream_that_runs(project: Path) -> None:
    with loaded(project) as app:
        assert app.start(**LOCAL).status_code == 200
        app.pipeline()
        before = app.below()
        app.process.terminate()
        assert app.process.wait(8) == 0
        assert gone(before)
        assert app.left() == []
        assert "Traceback" not in app.said


def test_a_host_that_never_comes_up_ends_the_server(project: Path) -> None:
    (project / "broken").mkdir()
    (project / "broken" / "runner.py").write_text("raise SystemExit('no host today')")  # found before the real one
    hide = f"import os; os.environ['PYTHONPATH'] = {str(project / 'broken')!r}"
    code, said = refused(project, "-c", f"{hide}\n{HASTY}", MODEL_ID="noop")
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
    with serving(project, MODEL_ID="noop") as app, ThreadPoolExecutor(1) as beside:
        before = [psutil.Process(app.process.pid), *app.below()]
        assert app.health() == "LOADING"
        urls = {"subscribe_url": "http://127.0.0.1:9/a", "publish_url": "http://127.0.0.1:9/b"}
        starting = beside.submit(app.start, **urls)
        time.sleep(0.1)  # it waits for the host
        app.process.terminate()
        assert starting.result().json() == {"detail": {"msg": "the runner is shutting down; ask another one"}}
        assert app.process.wait(8) == 0
        assert gone(before)
        assert "Traceback" not in app.said

"""The ways to name a pipeline and to start the server: entrypoints, the environment, ``--prepare-models``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.command_line import named_pipeline, parse
from runner.errors import RunnerError
from runner.live.pipelines import PipelineSpec
from runner.prepare import prepare_models

from .app_process import environment, refused, serving

ENTRYPOINT = """
from runner.app import start_app
from runner.live.pipelines import PipelineSpec
from runner.pipelines.live_video_to_video import LiveVideoToVideoPipeline

spec = PipelineSpec(name="mine", pipeline_cls="models:{name}")
start_app(pipeline={wrap}(spec){more})
"""
MODELS = """
import os
from runner.live.pipelines import Pipeline
from runner.live.pipelines.noop import Noop

class Good(Noop):
    @classmethod
    def prepare_models(cls):
        os.makedirs(os.environ["MODEL_DIR"], exist_ok=True)
        with open(os.path.join(os.environ["HUGGINGFACE_HUB_CACHE"], "weights"), "w") as file:
            file.write("1")

class Awaited(Noop):
    @classmethod
    async def prepare_models(cls):
        print("awaited")

class Bad(Noop):
    @classmethod
    def prepare_models(cls):
        raise OSError("no space left")

class NotYet(Noop):
    @classmethod
    def prepare_models(cls):
        raise NotImplementedError("use the other image")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder is this process's own."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("HUGGINGFACE_HUB_CACHE", "DIFFUSERS_CACHE"):
        monkeypatch.setenv(name, str(folder / "models"))
    monkeypatch.setenv("MODEL_DIR", str(folder / "models"))
    yield
    sys.modules.pop("models", None)


def spec(name: str) -> PipelineSpec:
    return PipelineSpec(name="mine", pipeline_cls=f"models:{name}")


def entrypoint(folder: Path, name: str = "Good", *, wrap: str = "", more: str = "") -> str:
    (folder / "start.py").write_text(ENTRYPOINT.format(name=name, wrap=wrap, more=more))
    return "start.py"


class TestPrepareModels:
    @pytest.mark.parametrize(("wrap", "flag"), [("", True), ("LiveVideoToVideoPipeline", False)])
    def test_it_is_all_that_is_done(self, folder: Path, wrap: str, flag: bool) -> None:
        asked = ("--prepare-models",) if flag else ()
        environ = {} if flag else {"PREPARE_MODELS": "1"}
        code, said = refused(folder, entrypoint(folder, wrap=wrap), *asked, **environ)
        assert (code, (folder / "models" / "weights").read_text()) == (0, "1"), said
        assert "models of mine are prepared" in said
        assert "listening" not in said

    @pytest.mark.usefixtures("here")
    def test_a_coroutine_is_awaited(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert prepare_models(spec("Awaited")) == 0
        assert capsys.readouterr().out == "awaited\n"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("Bad", "OSError: no space left (models.py:21)"),
            ("NotYet", "has no models to prepare in this way: use the other image"),
            ("Nothing", "module 'models' has no 'Nothing'"),
        ],
    )
    @pytest.mark.usefixtures("here")
    def test_a_failure_is_reported(self, name: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
        assert prepare_models(spec(name)) == 1
        assert reason in caplog.text
        assert "Traceback" not in caplog.text

    def test_a_failure_is_the_exit_code_and_shows_no_traceback(self, folder: Path) -> None:
        code, said = refused(folder, entrypoint(folder, "Bad"), PREPARE_MODELS="1")
        assert code == 1
        assert "OSError: no space left (models.py:21)" in said
        assert "Traceback" not in said


class TestNamedByTheEnvironment:
    @pytest.mark.parametrize(
        ("environ", "reason"),
        [
            ({}, "no pipeline is named: set PIPELINE_IMPORT=package.module:Class, or MODEL_ID=noop"),
            ({"MODEL_ID": "sdxl"}, "MODEL_ID is 'sdxl', which is not built in (noop is)"),
            ({"PIPELINE": "text-to-image", "MODEL_ID": "noop"}, "PIPELINE is 'text-to-image'"),
            ({"PIPELINE_IMPORT": "models.py"}, "'models.py' is not an import path"),
        ],
    )
    def test_what_cannot_be_served_is_refused(self, environ: dict[str, str], reason: str) -> None:
        with pytest.raises(RunnerError) as error:
            named_pipeline(environ)
        assert reason in str(error.value)
        assert len(str(error.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("environ", "reason"),
        [
            ({}, "no pipeline is named: "),
            ({"MODEL_ID": "noop", "TRICKLE_ALLOW": "not a host"}, "TRICKLE_ALLOW: 'not a host' is no host name"),
        ],
    )
    def test_that_is_reported_in_one_line(self, folder: Path, environ: dict[str, str], reason: str) -> None:
        code, said = refused(folder, **environ)
        assert code == 1
        assert said.startswith(f"error: {reason}")
        assert len(said.splitlines()) == 1

    def test_under_uvicorn_it_is_one_line_too(self, folder: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "uvicorn", "runner.main:app", "--port", "0"],
            cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "no pipeline is named" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_entrypoint_serves_its_spec_and_may_have_flags_of_its_own(folder: Path) -> None:
    start = entrypoint(folder, more=", port=1, log_level='info'")
    with serving(folder, start, "--port", "0", "--my-own", "flag", PORT="2", MODEL_ID="theirs") as app:
        assert app.until("IDLE")[-1] == "IDLE"
        version = app.client.get("/version").json()
        assert version == {"pipeline": "live-video-to-video", "model_id": "theirs", "version": "undefined"}
        assert "MODEL_ID is 'theirs', but the pipeline's name is 'mine'" in app.said
        answer = app.start(subscribe_url="http://127.0.0.1:9/a", publish_url="http://127.0.0.1:9/b", model_id="theirs")
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("flag", "code", "said"),
    [("--help", 0, "PIPELINE_IMPORT"), ("--version", 0, "ai-runner-base"), ("--nope", 2, "--nope")],
)
def test_flags_of_the_module(flag: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag], strict=True)
    assert ended.value.code == code
    assert said in "".join(capsys.readouterr())


def test_the_module_reads_its_flags(folder: Path) -> None:
    code, said = refused(folder, "-m", "runner.main", "--nope")
    assert code == 2
    assert "--nope" in said

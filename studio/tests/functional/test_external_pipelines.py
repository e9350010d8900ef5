"""docs/external-pipelines.md is followed to the letter: its files are written, its commands run, in a fresh environment.

That environment sees the packages of this one, in the place of "the environment that has ai-runner-base". Ports 8000
and 8935 of the page become free ones. Blocks are marked ``file=`` (written), ``run=`` (run), ``answer=`` (compared).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs/external-pipelines.md"
PATIENCE_S = 60.0
OURS = ("AI_RUNNER_STUDIO_", "LIVE_RUNNER", "TRICKLE_", "PIP_")
OURS_TOO = ("HOST", "PORT", "PIPELINE", "MODEL_ID", "AUTH_TOKEN", "VERSION", "MAX_FPS", "PREPARE_MODELS", "LOG_FORMAT")

_BLOCK = re.compile(r"^```\w+ (file|run|answer)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {(mark, name): text for mark, name, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8"))}


def commands(name: str) -> str:
    return BLOCKS["run", name]


@dataclass
class Repository:
    """The folder of the page's package, and the environment that it is installed into."""

    folder: Path
    env: dict[str, str]
    runner_port: int
    relay_port: int

    def __post_init__(self) -> None:
        self.env = {**self.env, "PORT": str(self.runner_port)}

    def here(self, script: str) -> str:
        """The script with our ports in the place of the page's."""
        return script.replace("8000", str(self.runner_port)).replace("8935", str(self.relay_port))

    def run(self, name: str) -> str:
        """What the commands of a block print, on stdout; all of them must succeed."""
        done = subprocess.run(
            ["bash", "-e", "-c", self.here(commands(name))],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    @contextmanager
    def running(self, name: str, more: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A block of one command, and `more`, that goes on until it is ended; a failing test shows its log."""
        command = f"{self.here(commands(name)).strip()} {more}"
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", _exec(command)], cwd=self.folder, env=self.env, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()
            text = (self.folder / f"{name}.log").read_text(encoding="utf-8")
            print(text)
            assert "Traceback" not in text

    def health_until(self, status: str, process: subprocess.Popen[bytes]) -> list[str]:
        """What /health said on the way to `status`, each once."""
        said: list[str] = []
        until = time.monotonic() + PATIENCE_S
        while status not in said:
            assert time.monotonic() < until, f"/health never says {status}, but {said}"
            assert process.poll() is None, "the runner has ended"
            try:
                word = httpx.get(f"http://127.0.0.1:{self.runner_port}/health", timeout=PATIENCE_S).json()["status"]
            except httpx.ConnectError:  # it does not listen yet
                word = said[-1] if said else ""
            if word and word not in said[-1:]:
                said.append(word)
            time.sleep(0.02)
        return said


def _exec(command: str) -> str:
    """The command in the shell's own place, with its variables."""
    words = shlex.split(command)
    variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
    return shlex.join(["exec", "env", *variables, *words[len(variables) :]])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_listener(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < until, f"nobody listens on port {port}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """What the page has one write and install."""
    folder = tmp_path_factory.mktemp("tint")
    for (mark, name), text in BLOCKS.items():
        if mark == "file":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    programs = fresh_environment(tmp_path_factory.mktemp("environment"))
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS) and name not in OURS_TOO}
    env |= {"PATH": f"{programs}{os.pathsep}{env['PATH']}", "NO_COLOR": "1", "PIP_NO_INDEX": "1"}
    env["MODEL_DIR"] = str(folder / "models")
    made = Repository(folder, env, free_port(), free_port())
    made.run("install")
    return made


def fresh_environment(folder: Path) -> Path:
    """The folder of programs of a new environment, which sees this one's packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=PATIENCE_S)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv" if "venv" in sysconfig.get_scheme_names() else None, paths))
    packages.joinpath("seen.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    programs = folder / "bin"
    # The build tool is among the packages already: nothing is downloaded.
    for name, command in (("pip", 'pip "$@" --no-build-isolation'), ("ai-runner-studio", 'ai_runner_studio "$@"')):
        (programs / name).write_text(f"#!/bin/sh\nexec {shlex.quote(str(programs / 'python'))} -m {command}\n")
        (programs / name).chmod(0o755)
    return programs


def mean_colour(path: Path) -> tuple[int, list[float]]:
    """How many pictures a clip has, and the mean red, green and blue of all of them."""
    with av.open(str(path)) as clip:
        means = [frame.to_ndarray(format="rgb24").mean((0, 1)) for frame in clip.decode(video=0)]
    return len(means), [float(sum(channel) / len(means)) for channel in zip(*means, strict=True)]


def test_it_runs_in_the_studios_headless_way(repository: Repository) -> None:
    assert repository.run("try").startswith("24 frames in ")


def test_it_runs_by_the_trickle_route(repository: Repository) -> None:
    printed = repository.run("route")
    came_back = re.search(r"route: (\d+) frames sent, (\d+) came back", printed)
    assert came_back, printed
    assert int(came_back[2]) > 10


def test_models_are_prepared(repository: Repository) -> None:
    repository.run("prepare")


def test_it_is_served_and_a_stream_comes_back_tinted(repository: Repository) -> None:
    if subprocess.run(["curl", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no curl")
    own_port = f"--port {repository.relay_port}"
    with repository.running("relay", own_port) as relay, repository.running("serve") as runner:
        assert repository.health_until("IDLE", runner) == ["LOADING", "IDLE"]
        answers = repository.run("ask")
        assert '{"status":"IDLE"}' in answers
        assert '"model_id":"tint","version":"undefined"' in answers
        assert '"gpu_info":' in answers
        assert 'ai_runner_state{state="OFFLINE"} 1.0' in answers

        refused = repository.here(commands("refused")).replace("curl -s", "curl -s -w '%{stderr}%{http_code}'")
        done = subprocess.run(["bash", "-c", refused], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert json.loads(done.stdout) == json.loads(BLOCKS["answer", "refused"])
        assert done.stderr == "400"

        assert relay.poll() is None
        wait_for_listener(repository.relay_port)
        assert "subscribe_url" in json.loads(repository.run("start"))
        assert repository.health_until("OK", runner) == ["OK"]
        repository.run("send")
        pictures, (red, green, blue) = mean_colour(repository.folder / "tinted.ts")
        _, (red_before, green_before, blue_before) = mean_colour(repository.folder / "clip.ts")
        assert pictures > 24
        assert red / red_before == pytest.approx(0.5, abs=0.1)
        assert [green / green_before, blue / blue_before] == pytest.approx([1, 1], abs=0.1)
        assert repository.health_until("IDLE", runner)[-1] == "IDLE"
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(PATIENCE_S) == 0


def test_the_environment_names_it_too(repository: Repository) -> None:
    with repository.running("serve-env") as runner:
        assert repository.health_until("IDLE", runner)[-1] == "IDLE"
        version = httpx.get(f"http://127.0.0.1:{repository.runner_port}/version", timeout=PATIENCE_S).json()
        assert version["model_id"] == "tint"


def test_every_block_of_the_page_is_used() -> None:
    """A command that nobody tries may say anything."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for mark, name in BLOCKS if mark != "file" and f'"{name}"' not in text] == []
    marked = len(re.findall(r"^```sh", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert marked == sum(mark == "run" for mark, _ in BLOCKS)

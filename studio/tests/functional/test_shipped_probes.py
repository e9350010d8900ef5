"""The probes of emitted files, asked of a real runner in each of its states: what they tell an engine to do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from ai_runner_studio.export.emit import Kind, Shipment, Terms, emit

from ..unit.export.plans import plan

PATIENCE_S = 100.0
OURS = ("AI_RUNNER_STUDIO_", "LIVE_RUNNER", "TRICKLE_")
# It loads until the file `go` is there, and then works or fails as the file says.
GATED = """
import asyncio
from pathlib import Path

from runner.live.pipelines.noop import Noop


class Gated(Noop):
    async def initialize(self, **params):
        while not (go := Path("go")).exists():
            await asyncio.sleep(0.02)
        if go.read_text() == "fail":
            raise RuntimeError("no weights")
        await super().initialize(**params)
"""
PLAN = plan(name="gated", model_id="gated")


def emitted(kind: Kind, name: str) -> list[dict[str, Any]]:
    text = next(manifest.text for manifest in emit(Shipment(PLAN, Terms(kinds=(kind,)))) if manifest.name == name)
    return list(yaml.safe_load_all(text))


def runner_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(documents[1]["spec"]["template"]["spec"]["containers"][0])


class Probed:
    """A runner, and what the engines see of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._kubernetes = runner_of(emitted("kubernetes", "kubernetes.yaml"))
        self._compose = emitted("compose", "compose.yaml")[0]["services"]["gated"]["healthcheck"]["test"]

    def kubernetes(self) -> dict[str, bool]:
        """Probe -> whether it passes: any code from 200 to 399 does."""
        passed = {}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = self._kubernetes[name]["httpGet"]
            answer = httpx.get(f"{self.url}{asked['path']}", timeout=PATIENCE_S)
            passed[name.removesuffix("Probe")] = 200 <= answer.status_code < 400
        return passed

    def compose(self) -> bool:
        """Whether the health check's command ends well, as it is in the container."""
        assert self._compose[:2] == ["CMD", "python3"]
        environment = {**os.environ, "PORT": self.url.rpartition(":")[2]}
        command = [sys.executable, *self._compose[2:]]
        return not subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_S).returncode

    def until(self, status: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (said := httpx.get(f"{self.url}/health", timeout=PATIENCE_S).json()["status"]) != status:
            assert time.monotonic() < deadline, f"/health says {said}, not {status}"
            time.sleep(0.02)


@contextmanager
def serving(folder: Path) -> Iterator[Probed]:
    (folder / "gated.py").write_text(GATED)
    (folder / "tmp").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environment |= {"PIPELINE_IMPORT": "gated:Gated", "MODEL_ID": "gated", "STREAM_PROTOCOL": "local", "PORT": "0"}
    environment |= {"TMPDIR": str(folder / "tmp"), "MODEL_DIR": str(folder / "models"), "HOST": "127.0.0.1"}
    log = folder / "runner.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner.main"], cwd=folder, env=environment, stdout=written, stderr=written
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(r"listening on (http://\S+?)[\s\"]", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Probed(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            print(log.read_text())


ALL_PASS = {"startup": True, "readiness": True, "liveness": True}


def test_only_one_that_is_idle_or_busy_is_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as runner:
        runner.until("LOADING")
        assert runner.kubernetes() == {"startup": True, "readiness": False, "liveness": True}
        assert not runner.compose()

        (tmp_path / "go").write_text("work")
        runner.until("IDLE")
        assert runner.kubernetes() == ALL_PASS
        assert runner.compose()

        body = {"subscribe_url": "pattern:320x240@30", "publish_url": ""}
        assert httpx.post(f"{runner.url}/live-video-to-video", json=body, timeout=PATIENCE_S).status_code == 200
        runner.until("OK")
        assert runner.kubernetes() == ALL_PASS
        assert runner.compose()


def test_an_error_that_stays_is_neither_alive_nor_ready(tmp_path: Path) -> None:
    (tmp_path / "go").write_text("fail")
    with serving(tmp_path) as runner:
        runner.until("ERROR")
        assert runner.kubernetes() == {"startup": False, "readiness": False, "liveness": False}
        assert not runner.compose()

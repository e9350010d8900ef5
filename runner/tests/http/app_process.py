"""The container's HTTP server as a process of its own, and a client of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

PATIENCE_S = 60.0
COMMAND = ("-m", "runner.main")
_SETTINGS = ("PIPELINE", "MODEL_ID", "_IMPORT", "HOST", "PORT", "AUTH_TOKEN", "VERSION", "VERBOSE", "LOG_", "TRICKLE_")


def environment(folder: Path, **environ: str) -> dict[str, str]:
    """Ours without what a person may have set, with the folder for what is temporary."""
    clean = {name: value for name, value in os.environ.items() if not any(word in name for word in _SETTINGS)}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return clean | {"TMPDIR": str(temporary), "MODEL_DIR": str(folder / "models")} | environ


class AppProcess:
    """The server, listening on a free port of 127.0.0.1; `url` is "" where it did not come so far."""

    def __init__(self, folder: Path, *command: str, **environ: str) -> None:
        self.folder = folder
        self.log = folder / f"app-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(command or COMMAND)],
                cwd=folder,
                env=environment(folder, **{"PORT": "0"} | environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.url = self._wait_listening()
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def _wait_listening(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(r"listening on (http://\S+?)[\s\"]", self.said)) is None:
            if self.process.poll() is not None:
                return ""
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return found[1]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def health(self) -> str:
        return str(self.client.get("/health").json()["status"])

    def until(self, wanted: str) -> list[str]:
        """What /health says until it says `wanted`: each answer that differs from the one before."""
        said: list[str] = []
        deadline = time.monotonic() + PATIENCE_S
        while not said or said[-1] != wanted:
            assert time.monotonic() < deadline, (said, self.said)
            if (now := self.health()) not in said[-1:]:
                said.append(now)
            time.sleep(0.02)
        return said

    def start(self, **body: Any) -> httpx.Response:
        return self.client.post("/live-video-to-video", json=body)

    def metric(self, name: str) -> str:
        """The value that /metrics tells for this name and its labels; "" for none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return found[1] if found else ""

    def below(self) -> list[psutil.Process]:
        """Every process that the server has started, directly or not."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def host(self) -> psutil.Process:
        """The runner host, once there is one."""
        return self._child(psutil.Process(self.process.pid).children)

    def pipeline(self) -> psutil.Process:
        """The pipeline process, once there is one."""
        return self._child(lambda: self.host().children())

    @staticmethod
    def _child(look: Callable[[], list[psutil.Process]]) -> psutil.Process:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := [child for child in look() if "resource_tracker" not in " ".join(child.cmdline())]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found[0]

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def left(self) -> list[str]:
        """What lies in the temporary folder."""
        return os.listdir(self.folder / "tmp")

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.ended()


@contextlib.contextmanager
def serving(folder: Path, *command: str, **environ: str) -> Iterator[AppProcess]:
    app = AppProcess(folder, *command, **environ)
    try:
        assert app.url, app.said
        yield app
    finally:
        app.close()


def refused(folder: Path, *command: str, **environ: str) -> tuple[int, str]:
    """Exit code and words of a server that ends by itself."""
    app = AppProcess(folder, *command, **environ)
    try:
        return app.ended(), app.said
    finally:
        app.close()

"""The container's HTTP server as a process of its own, and a client of it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from runner.testing import served_process
from runner.testing.served_process import PATIENCE_S, ServedProcess

from .infer_process import PATIENT_FOLDER

COMMAND = ("-m", "runner.main")


def environment(folder: Path, **environ: str) -> dict[str, str]:
    """See `runner.testing.served_process`."""
    return served_process.environment(folder, environ)


class AppProcess(ServedProcess):
    """The server, by the arguments that this interpreter gets, and what it is made of."""

    def __init__(self, folder: Path, *command: str, **environ: str) -> None:
        path = [environ.get("PYTHONPATH", ""), str(PATIENT_FOLDER)]
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        super().__init__(folder, [sys.executable, *(command or COMMAND)], environ)
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=False)

    def start(self, **body: Any) -> httpx.Response:
        return self.client.post("/live-video-to-video", json=body)

    def metric(self, name: str) -> str:
        """The value that /metrics tells for this name and its labels; "" for none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return found[1] if found else ""

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

    def close(self) -> None:
        self.client.close()
        super().close()


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

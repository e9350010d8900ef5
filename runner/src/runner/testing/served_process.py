"""ServedProcess: a runner's server as a process of its own, for tests: started, watched, ended, looked after."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 60.0
_LOOK_S = 0.02
# Parts of names of variables that a person may have set for runners of their own.
_SETTINGS = ("PIPELINE", "MODEL_ID", "_IMPORT", "HOST", "PORT", "AUTH_TOKEN", "VERSION", "VERBOSE", "LOG_", "TRICKLE_")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Ours without what a person may have set, and with `environ`; what is temporary, and models, go below `folder`."""
    clean = {name: value for name, value in os.environ.items() if not any(word in name for word in _SETTINGS)}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return clean | {"PORT": "0", "TMPDIR": str(temporary), "MODEL_DIR": str(folder / "models")} | dict(environ)


def find_command(command: Sequence[str]) -> list[str]:
    """A command whose program is looked for beside this interpreter first.

    Raises:
        FileNotFoundError: it is not installed.
    """
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=places)
    if program is None:
        raise FileNotFoundError(
            f"'{command[0]}' is not installed in {os.path.dirname(sys.executable)}, nor on the path"
        )
    return [program, *command[1:]]


class ServedProcess:
    """The server, listening on a free port of 127.0.0.1.

    Attributes:
        url: where it listens, "" where it did not come so far.
        log: file with all that it says.
    """

    def __init__(self, folder: Path, command: Sequence[str], environ: Mapping[str, str] = {}) -> None:
        """Start it in `folder`, and wait until it listens or has ended."""
        self.folder = folder
        self.log = folder / f"app-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                find_command(command),
                cwd=folder,
                env=environment(folder, environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.url = self._wait_listening()

    def _wait_listening(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(r"listening on (http://\S+?)[\s\"]", self.said)) is None:
            if self.process.poll() is not None:
                return ""
            assert time.monotonic() < deadline, self.said
            time.sleep(_LOOK_S)
        return found[1]

    @property
    def said(self) -> str:
        """What it has written."""
        return self.log.read_text()

    def get(self, path: str) -> Any:
        """The JSON answer to a request."""
        with _direct.open(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def health(self) -> str:
        """What /health says."""
        return str(self.get("/health")["status"])

    def until(self, wanted: str, patience_s: float = PATIENCE_S) -> list[str]:
        """What /health says until it says `wanted`: each answer that differs from the one before."""
        said: list[str] = []
        deadline = time.monotonic() + patience_s
        while not said or said[-1] != wanted:
            assert time.monotonic() < deadline, (said, self.said)
            assert self.process.poll() is None, self.said
            if (now := self.health()) not in said[-1:]:
                said.append(now)
            time.sleep(_LOOK_S)
        return said

    def below(self) -> list[psutil.Process]:
        """Every process that it has started, directly or not."""
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def ended(self) -> int:
        """Wait for its end: the exit code."""
        return self.process.wait(PATIENCE_S)

    def left(self) -> list[str]:
        """What lies in the temporary folder."""
        return os.listdir(self.folder / "tmp")

    def close(self) -> None:
        """End it. Safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.ended()

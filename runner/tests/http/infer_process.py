"""A runner host as a process of its own, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from runner.live.events import Event, decode

PATIENCE_S = 60.0  # ends a test that hangs
COMMAND = [sys.executable, "-m", "runner.live.infer"]
PATIENT_FOLDER = Path(__file__).parents[1] / "patient_host"
# The host with as much time for an orderly exit as a busy machine needs.
PATIENT = f"""
import sys
import runner.live.infer as infer
infer.SHUTDOWN_LIMIT_S = {PATIENCE_S}
sys.exit(infer.main())
"""


class HostProcess:
    """A runner host, and a client of it.

    With `patient` it runs `PATIENT`, with `PATIENT_FOLDER` on its path; otherwise it has the limits of production.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        patient: bool = False,
        **environ: str,
    ) -> None:
        self._census = Path(environ.get("CENSUS", os.devnull))
        clean = {key: value for key, value in os.environ.items() if "_IMPORT" not in key and key != "VERBOSE_LOGGING"}
        command = COMMAND
        if patient:
            command, environ = [sys.executable, "-c", PATIENT], {"PYTHONPATH": str(PATIENT_FOLDER)} | environ
        self.log = folder / f"host-{time.monotonic_ns()}.log"  # several may run in one folder
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=clean | environ,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.url = ""
        self.client = httpx.Client(verify=False)

    def wait_listening(self) -> None:
        assert self.process.stdout is not None
        facts = (json.loads(line) for line in self.process.stdout)
        self.url = next((fact["listening"] for fact in facts if "listening" in fact), "")
        assert self.url, self.log.read_text()
        unix = self.url.startswith("unix:")
        self.client.close()
        self.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=self.url.removeprefix("unix:"), verify=False) if unix else None,
            base_url="http://host" if unix else self.url,
            verify=False,  # else it reads all certificates of the system
            headers={"accept": "application/json"},
            timeout=PATIENCE_S,
        )

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first status for which the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(status := self.client.get("/api/status").json()):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def wait_ready(self) -> None:
        self.until(lambda status: status["state"] not in ("LOADING", "ERROR"))

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[Event]]:
        with self.client.stream("GET", "/api/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield (decode(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: "))

    @contextlib.contextmanager
    def news(self) -> Iterator[Iterator[Event]]:
        """Events from now on, without what a latecomer is told."""
        with self.events() as events:
            began = time.time()
            next(events)  # the host has noted this listener
            yield (event for event in events if getattr(event, "at", began) >= began)

    def census(self) -> list[str]:
        """What its tasks run, once it has collected its garbage; needs `CENSUS` (see `patient_host`)."""
        self._census.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE_S
        while not (self._census.exists() and self._census.read_text().endswith("\n")):
            assert time.monotonic() < deadline, "the host writes no census"
            time.sleep(0.01)
        return self._census.read_text().strip().split(",")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.ended()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@contextlib.contextmanager
def running(folder: Path, *arguments: str, patient: bool = True, **options: Any) -> Iterator[HostProcess]:
    host = HostProcess(folder, *arguments, patient=patient, **options)
    try:
        host.wait_listening()
        yield host
    finally:
        host.close()


def gone(processes: list[psutil.Process]) -> bool:
    """Wait until all of them have exited; their parent may reap them much later. False after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def closed(url: str) -> None:
    """Wait until this channel is gone from its server."""
    deadline = time.monotonic() + PATIENCE_S
    async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:
        while (await client.get(f"{url}/next")).status_code != 404:
            assert time.monotonic() < deadline, url
            await asyncio.sleep(0.05)


def of(kind: type, events: Iterator[Event]) -> Any:
    """The next event of a kind."""
    return next(event for event in events if isinstance(event, kind))

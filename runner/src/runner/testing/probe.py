"""Probe: looks at a runner as an orchestrator does, streams a clip through it, and reports what it saw as JSON.

``python -m runner.testing.probe http://127.0.0.1:8000 --source pattern --seconds 12`` from the machine, or the
container network, that the runner listens in. Times of the poll and its limits are those of the orchestrator's
worker (contract 3.3).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from ..errors import RunnerError
from .network_stream import PATTERN, NetworkStream, network_stream
from .probe_report import GRID, ProbeReport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POLL_S = 0.5
_LOOKS, _LOOK_AGAIN_S = 20, 0.05  # for the port in the table of listeners
ANSWER_LIMIT_S = 5.0
START_LIMIT_S = 180.0
STREAM_LIMIT_S = 60.0  # also for the status that tells the params in force, which comes every 10 s
_SIZE = (64, 64)


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What to do. `change`: complete params that are sent in the middle; None for none."""

    url: str
    source: str = PATTERN
    seconds: float = 12.0
    model_id: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    change: dict[str, Any] | None = None
    token: str = ""


class Probe:
    """One look at one runner; `report` is filled as it goes."""

    def __init__(self, options: ProbeOptions) -> None:
        self.report = ProbeReport()
        self._options = options

    async def run(self) -> ProbeReport:
        """Everything, one thing after the other; what fails is in the report."""
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_LIMIT_S)) as session:
                await self._wait_for_health(session, "IDLE")
                self.report.listens_on_all = await self._look_at_port()
                self.report.hardware = await self._get(session, "/hardware/info")
                self.report.version = await self._get(session, "/version")
                await self._stream()
                await self._wait_for_health(session, "IDLE")
                self.report.idle_after = True
        except (RunnerError, ProbeFailed) as error:
            self.report.failure = str(error)
        return self.report

    async def _look_at_port(self) -> bool | None:
        port = int(self._options.url.rpartition(":")[2].strip("/"))
        for _ in range(_LOOKS):
            if (found := listens_on_all(port)) is not None:
                return found
            await asyncio.sleep(_LOOK_AGAIN_S)
        return None

    async def _wait_for_health(self, session: aiohttp.ClientSession, wanted: str) -> None:
        """Ask as the orchestrator does, until it says so."""
        deadline = time.monotonic() + START_LIMIT_S
        said = "no answer"
        while True:
            try:
                answer = await self._get(session, "/health")
                said = str(answer.get("status"))
                now = time.time()
                self.report.answers_at = self.report.answers_at or now
                if said not in (word for word, _ in self.report.health[-1:]):
                    self.report.health.append((said, now))
            except ProbeFailed as error:
                said = str(error)  # connection errors and other codes than 200 are tried again
            if said == wanted:
                self.report.healthy_at = self.report.healthy_at or time.time()
                return
            if said == "ERROR":
                raise ProbeFailed("/health says ERROR: an orchestrator gives the container up at once")
            if time.monotonic() > deadline:
                raise ProbeFailed(f"/health does not say {wanted} within {START_LIMIT_S:g} s: {said}")
            await asyncio.sleep(POLL_S)

    async def _get(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        try:
            async with session.get(self._options.url.rstrip("/") + path) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            raise ProbeFailed(f"{path}: {error or type(error).__name__}") from error
        if answer.status != 200 or not isinstance(body, dict):
            raise ProbeFailed(f"{path} answers {answer.status}: {body}")
        return body

    async def _stream(self) -> None:
        options = self._options
        async with network_stream(
            options.url,
            source=options.source,
            loop=not options.source.startswith("pattern"),
            params=options.params,
            model_id=options.model_id,
            token=options.token,
            size=_SIZE,
            patience_s=STREAM_LIMIT_S,
        ) as stream:
            began = time.monotonic()
            await stream.pictures_come(1)
            self.report.started_s = stream.started_s
            self.report.first_picture_s = time.monotonic() - began
            await asyncio.sleep(options.seconds / 2)
            if options.change is not None:
                self.report.changed_at_pts = stream.seen.pts[-1]
                await stream.update(options.change)
                await self._see_params(stream, options.change)
            await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))
        self._count(stream)

    async def _see_params(self, stream: NetworkStream, change: dict[str, Any]) -> None:
        """Wait for the runner to say that it has taken the params, or that it has not."""

        def answered(event: dict[str, Any]) -> bool:
            in_force = (event.get("inference_status") or {}).get("last_params") or {}
            return change.items() <= in_force.items() or "params" in str(event.get("message", ""))

        event = await stream.event_comes(answered)
        self.report.params_taken = event.get("type") == "status"
        self.report.effective_at_pts = stream.seen.pts[-1]

    def _count(self, stream: NetworkStream) -> None:
        seen, report = stream.seen, self.report
        report.sent, report.returned = len(stream.network.sent_ns), len(seen.pts)
        if report.returned > 1:
            report.fps = (report.returned - 1) / ((seen.came_ns[-1] - seen.came_ns[0]) / 1e9)
        if latencies := sorted(stream.latencies_ms):
            report.latency_ms = {
                "p50": statistics.median(latencies),
                "p95": latencies[int(0.95 * (len(latencies) - 1))],
            }
        report.pictures = {str(pts): _grid(picture) for pts, picture in zip(seen.pts, seen.pictures, strict=True)}
        report.errors = [str(one["event"]["message"]) for one in stream.events if one["event"].get("type") == "error"]


class ProbeFailed(Exception):
    """The runner does not do what an orchestrator needs; the message says what."""


def _grid(picture: NDArray[np.uint8]) -> str:
    """Mean colours of `GRID` x `GRID` fields of a picture, uint8 (H, W, 3), as hex."""
    height, width, _ = picture.shape
    fields = picture.reshape(GRID, height // GRID, GRID, width // GRID, 3)
    return str(fields.mean(axis=(1, 3)).round().astype("uint8").tobytes().hex())


def listens_on_all(port: int) -> bool | None:
    """Whether this network's namespace has a listener for the port on 0.0.0.0 or [::].

    None where that cannot be told: /proc is missing, or shows no listener for the port at all (a row may be left out
    of a table that changes while it is read).
    """
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        for row in rows:
            address, _, listening = row[1].partition(":")
            if row[3] == "0A" and int(listening, 16) == port:
                addresses.add(address)
    return any(not address.strip("0") for address in addresses) if addresses else None


def main(arguments: list[str] | None = None) -> int:
    """Probe, and print the report; the exit code: 0 nothing failed, 1 something did."""
    parser = argparse.ArgumentParser(prog="python -m runner.testing.probe", description="Look at a running runner.")
    parser.add_argument("url", help="e.g. http://127.0.0.1:8000")
    parser.add_argument("--source", default=PATTERN, help="a clip's path or pattern:WxH@FPS (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=12.0, help="of the stream (default: %(default)s)")
    parser.add_argument("--model-id", default="")
    parser.add_argument("--params", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--change", type=json.loads, metavar="JSON", help="complete params, sent in the middle")
    options = parser.parse_args(arguments)
    report = asyncio.run(Probe(ProbeOptions(**vars(options))).run())
    sys.stdout.write(report.to_json() + "\n")
    return 1 if report.failure else 0


if __name__ == "__main__":
    sys.exit(main())

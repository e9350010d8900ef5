"""How long does the production runner take from its command to healthy?

    python -m benchmarks.runner_start [--times 10]

`noop-runner` as a process, asked for /health every 10 ms: until it answers at all (LOADING), and until the pipeline
is ready (IDLE). An orchestrator waits 3 minutes for that, and destroys a container that does not answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.report import percentiles, publish

LIMIT_S = 120.0
LOOK_S = 0.01


def main(times: int) -> None:
    starts = [_start() for _ in range(times)]
    rows: list[dict[str, Any]] = []
    for number, until in enumerate(("answers", "IDLE", "ends after SIGTERM")):
        values = [start[number] for start in starts]
        figures = {f"{name} ms": round(value) for name, value in percentiles(values).items()}
        rows.append({"until": until, "median ms": round(statistics.median(values)), **figures})
    publish("runner_start", rows, times=times)


def _start() -> tuple[float, float, float]:
    """ms from the command to the first answer and to IDLE; ms from SIGTERM to the end."""
    port = _free_port()
    environ = {key: value for key, value in os.environ.items() if not key.endswith("_IMPORT")}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "noop_runner.main", "--port", str(port)], env=environ, stderr=subprocess.DEVNULL
    )
    try:
        first = 0.0
        while (status := _health(port)) != "IDLE":
            now = time.monotonic() - began
            if status and not first:
                first = now
            if now > LIMIT_S or process.poll() is not None:
                raise SystemExit("noop-runner did not come up")
            time.sleep(LOOK_S)
        ready = time.monotonic() - began
    finally:
        asked = time.monotonic()
        process.terminate()
        process.wait()
    return 1000 * (first or ready), 1000 * ready, 1000 * (time.monotonic() - asked)


def _health(port: int) -> str:
    """What /health says; "" while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read()).get("status", ""))
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    main(parser.parse_args().times)

"""LocalRun: the same pipeline under the same server on this machine, to compare an image with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.module_command import module_command
from runner.testing.probe_report import ProbeReport
from runner.time_limit import time_limit

from ..errors import ExportError
from .engine import call
from .observation import Observation
from .verification import cause_of

LISTEN_LIMIT_S = 60.0
END_LIMIT_S = 30.0
PROBE_LIMIT_S = 400.0  # its own limits add up to less
_SETTINGS = ("PIPELINE", "MODEL_ID", "PARAMS_IMPORT", "HOST", "PORT", "AUTH_TOKEN", "PREPARE_MODELS", "LIVE_RUNNER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a runner is tried with.

    Attributes:
        source: a clip's path, or ``pattern:WxH@FPS``.
        params: of the start request. change: complete params for the middle of the stream, None for none.
    """

    model_id: str
    source: str
    seconds: float
    params: dict[str, Any] = field(default_factory=dict)
    change: dict[str, Any] | None = None

    def arguments(self, url: str, source: str | None = None) -> list[str]:
        """Of ``python -m runner.testing.probe``; `source`: where the runner's machine has the clip."""
        words = [url, "--source", source or self.source, "--seconds", f"{self.seconds:g}", "--model-id", self.model_id]
        words += ["--params", json.dumps(self.params)]
        return words + (["--change", json.dumps(self.change)] if self.change is not None else [])


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What came of it.

    Attributes:
        started_at: seconds since the epoch. stop_s: from SIGTERM to the end.
        opened: files of the project that were opened or imported, as paths in it.
    """

    report: ProbeReport
    started_at: float
    stop_s: float
    opened: tuple[str, ...] = ()


async def find_change(
    python: str, project: Path, pipeline_import: str, params_import: str | None, params: dict[str, Any]
) -> dict[str, Any] | None:
    """Params with one field at another value, by the pipeline's own class; None if it has no field of its own.

    Raises:
        ExportError: the pipeline cannot be imported.
    """
    command = [*module_command(python, "runner.testing.params_change"), pipeline_import, "--params", json.dumps(params)]
    command += ["--params-cls", params_import] if params_import else []
    answer = await call(command, limit_s=LISTEN_LIMIT_S, what="importing the pipeline", cwd=project)
    found = json.loads(answer)
    return dict(found) if found is not None else None


async def run_here(
    python: str,
    project: Path,
    pipeline_import: str,
    params_import: str | None,
    trial: Trial,
    models: Path | None = None,
) -> LocalRun:
    """Serve the pipeline from the project's interpreter, try it, and end it.

    `models`: folder of its models, if not the usual one.

    Raises:
        ExportError: it does not come up, or the stream fails here already.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    environment |= {
        "PIPELINE": "live-video-to-video",
        "MODEL_ID": trial.model_id,
        "PIPELINE_IMPORT": pipeline_import,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "HF_HUB_OFFLINE": "1",
    }
    environment |= {"PARAMS_IMPORT": params_import} if params_import else {}
    environment |= {"MODEL_DIR": str(models)} if models else {}
    with tempfile.TemporaryDirectory(prefix="ai-runner-studio-") as folder:
        log = Path(folder) / "log"
        observation = Observation(project.resolve(), Path(folder))
        environment |= observation.environment
        started_at = time.time()
        async with _server(python, project, environment, log) as process:
            url = await _listening(process, log)
            probe = [*module_command(python, "runner.testing.probe"), *trial.arguments(url)]
            report = ProbeReport.from_json(await call(probe, limit_s=PROBE_LIMIT_S, codes=(0, 1)))
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            async with time_limit(END_LIMIT_S):
                await process.wait()
            stop_s = time.monotonic() - began
        if report.failure:
            raise ExportError(
                f"the pipeline does not pass on this machine, so no image of it can: {report.failure}",
                hint="; ".join(report.errors[-1:]) or _cause(log),
            )
        return LocalRun(report, started_at, stop_s, observation.files())


@contextlib.asynccontextmanager
async def _server(
    python: str, project: Path, environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *module_command(python, "runner.main"),
            cwd=project,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()  # it ends what it has started, within 7 s
            try:
                await asyncio.shield(asyncio.wait_for(process.wait(), END_LIMIT_S))
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()


async def _listening(process: asyncio.subprocess.Process, log: Path) -> str:
    deadline = time.monotonic() + LISTEN_LIMIT_S
    while (found := re.search(r"listening on (http://[^\s\"]+)", log.read_text(errors="replace"))) is None:
        if process.returncode is not None or time.monotonic() > deadline:
            raise ExportError("the pipeline cannot be served on this machine, so no image of it can", _cause(log))
        await asyncio.sleep(0.05)
    return found[1]


def _cause(log: Path) -> str:
    cause = cause_of(log.read_text(errors="replace").strip().splitlines())
    return f"its log says: {cause}" if cause else "it has logged nothing"

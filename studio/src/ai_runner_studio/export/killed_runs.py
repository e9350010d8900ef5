"""Removes what killed exports have left: builders that still run, their containers and secrets, images under test."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ..errors import EngineError
from .build_secrets import FOLDER_PREFIX
from .container import NAME
from .run_record import DeadRun, dead_runs

if TYPE_CHECKING:
    from .engine import Engine
    from .runtime import Runtime

END_LIMIT_S = 10.0
_REMOVE_LIMIT_S = 60.0


async def remove_killed_runs(builder: Engine, runtime: Runtime | None, folder: Path) -> int:
    """Remove what killed runs with the same engines and store have left; return how many runs that were.

    Only what their records prove to be theirs is removed: the builder's process by its id and start time, working
    containers by the ids seen while it ran, and containers by the run's own random name. A run of other engines waits
    for an export that uses those.
    """
    engines = tuple(tuple(engine.program) for engine in (builder, runtime) if engine is not None)
    removed = 0
    for run in dead_runs(folder):
        if run.started.engines and run.started.engines != engines:
            continue
        with contextlib.suppress(EngineError):  # kept for the next export
            await _remove(run, builder, runtime)
            run.path.unlink(missing_ok=True)
            removed += bool(run.started.engines)
    return removed


async def _remove(run: DeadRun, builder: Engine, runtime: Runtime | None) -> None:
    if Path(run.started.secrets).name.startswith(FOLDER_PREFIX):
        shutil.rmtree(run.started.secrets, ignore_errors=True)
    if run.started.builder is not None:
        await asyncio.to_thread(_end, *run.started.builder)
    if run.started.containers:
        for container in set(run.started.containers) & set(await builder.working_containers()):
            await builder.remove_working_container(container)
    if runtime is not None and run.started.engines:
        listed = await runtime.call("ps", "--all", "--format", "{{.Names}}")
        for name in listed.split():
            if name.startswith(f"{NAME}-{run.token}-"):
                await runtime.call("rm", "--force", name, limit_s=_REMOVE_LIMIT_S)


def _end(pid: int, started_at: float) -> None:
    """End a builder and the steps that it runs, unless its process id belongs to another process by now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() != started_at:
            return
        every = [process, *process.children(recursive=True)]
        process.terminate()
        for left in psutil.wait_procs(every, END_LIMIT_S)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(every, END_LIMIT_S)

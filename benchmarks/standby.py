"""What does a process that waits for the next reload cost, and what does it save?

    python -m benchmarks.standby [--times 20]

Each way gets a process to the point where a small torch pipeline is initialized:

- *cold*: a fresh process, as without a standby;
- *spawned*: one that was spawned, has imported everything and waits; it is used up by a reload;
- *forked*: one that a template has forked, which has imported everything; the template stays;
- *forkserver*: the standard library's fork server with the same modules preloaded, for comparison. It has no
  warmed-up process ahead, no frames, no log: it only imports the pipeline and answers.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.report import percentiles, publish

if TYPE_CHECKING:
    from runner.live.process.process import PipelineProcess
    from runner.live.process.standby import Standby

LIMIT_S = 120.0
MIB = 1 << 20

PIPELINE = """\
import torch


def effect(frame: torch.Tensor) -> torch.Tensor:
    return 1 - frame
"""


def new_process() -> PipelineProcess:
    from runner.live.pipelines import PipelineSpec
    from runner.live.process.process import PipelineProcess

    spec = PipelineSpec(pipeline_cls="effects:effect")
    return PipelineProcess(spec, on_frame=lambda frame, _: frame.release(), on_message=lambda _: None)


async def load_ms(process: PipelineProcess) -> float:
    began = time.perf_counter()
    process.load({})
    await process.ready(LIMIT_S)
    return (time.perf_counter() - began) * 1000


async def modules_of_a_pipeline() -> tuple[str, ...]:
    """What a running one has imported besides its own file."""
    process = new_process()
    await process.start({})
    await process.ready(LIMIT_S)
    while not process.modules:
        await asyncio.sleep(0.05)
    await process.stop()
    return process.modules


async def cold(times: int) -> dict[str, Any]:
    took = []
    for _ in range(times):
        process = new_process()
        began = time.perf_counter()
        await process.launch()
        await load_ms(process)
        took.append((time.perf_counter() - began) * 1000)
        await process.stop()
    return row("cold", took, [], [], 0)


async def standby(kind: Literal["fork", "spawn"], times: int, modules: tuple[str, ...]) -> dict[str, Any]:
    from runner.live.pipelines import PipelineSpec
    from runner.live.process.memory import SystemGauge
    from runner.live.process.standby import Standby

    spec = PipelineSpec(pipeline_cls="effects:effect")
    waiting = Standby(spec, lambda _: None, on=True, reserve_bytes=0, gauge=SystemGauge(), kind=kind)
    waiting.start()
    waiting.learn(modules)
    took, renewals, cpu = [], [], []
    await renewed(waiting)
    memory = waiting.told.memory_bytes
    for _ in range(times):
        began = time.perf_counter()
        taken = await waiting.take()
        assert taken is not None, "nothing was ready"
        await load_ms(taken[0])
        took.append((time.perf_counter() - began) * 1000)
        await taken[0].stop()
        cpu_before = cpu_ms(waiting.pids)
        renewals.append(await renewed(waiting))
        cpu.append(cpu_ms(waiting.pids) - cpu_before)
    await waiting.close()
    return row({"fork": "forked", "spawn": "spawned"}[kind], took, renewals, cpu, memory)


async def renewed(waiting: Standby) -> float:
    """Have one ready again; how long that took, ms."""
    began = time.perf_counter()
    told = waiting.told
    waiting.renew()
    while waiting.told is told or waiting.told.state != "ready":
        await asyncio.sleep(0.001)
    return (time.perf_counter() - began) * 1000


def cpu_ms(pids: list[int]) -> float:
    import psutil

    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(used.user + used.system for used in times)) * 1000


def answer(pipe: Connection) -> None:
    """In a process of the fork server."""
    importlib.import_module("effects")
    pipe.send(os.getpid())
    pipe.recv()


async def forkserver(times: int, modules: tuple[str, ...]) -> dict[str, Any]:
    from runner.live.process.memory import SystemGauge

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    took, memory = [], 0
    for turn in range(times + 1):
        ours, theirs = multiprocessing.Pipe()
        began = time.perf_counter()
        process = context.Process(target=answer, args=(theirs,))
        process.start()
        ours.recv()
        if turn:  # the first one starts the server
            took.append((time.perf_counter() - began) * 1000)
        import psutil

        memory = SystemGauge().proportional(psutil.Process(process.pid).ppid())
        ours.send(None)
        process.join()
    return row("forkserver", took, [], [], memory)


def row(
    way: str, took_ms: list[float], renewals_ms: list[float], cpu_ms: list[float], memory_bytes: int
) -> dict[str, Any]:
    return {
        "way": way,
        "times": len(took_ms),
        **{f"{name} ms": value for name, value in percentiles(took_ms).items()},
        "ready again ms": round(statistics.median(renewals_ms), 1) if renewals_ms else "",
        "CPU for that ms": round(statistics.median(cpu_ms), 1) if cpu_ms else "",
        "waiting MiB": round(memory_bytes / MIB),
    }


async def main(times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "effects.py").write_text(PIPELINE)
        sys.path.insert(0, folder)  # started processes look there too
        modules = await modules_of_a_pipeline()
        ways: list[Callable[[], Awaitable[dict[str, Any]]]] = [
            lambda: cold(max(3, times // 4)),
            lambda: standby("spawn", max(3, times // 4), modules),
            lambda: standby("fork", times, modules),
            lambda: forkserver(times, modules),
        ]
        publish("standby", [await way() for way in ways], modules=len(modules))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="default: %(default)s")
    asyncio.run(main(parser.parse_args().times))

"""How long from a save to the new code's first frame, what is lost on the way, and what would a restart cost?

    python -m benchmarks.reload [--saves 20] [--restarts 5] [--count 100] [--flat 200]

A studio session without a screen, at 30 pictures a second of 512x512. Every save gives the pipeline's pictures
another colour in one corner; the rows with the pattern's frame number pass through unchanged, so both new code and
missing frames can be seen in what comes out. Side by side:

- *in place*: the code goes into the running process, the weights stay;
- *standby*: a fresh process that had done the third-party imports takes over;
- *cold*: a fresh process takes over that had not;
- *restart*: what Livepeer's runtime does, with this project's process: end it, start it again, while frames come in.

For a pipeline of numpy and cv2, and for one with 300 MB of random torch weights. Then frames are counted over
--count reloads of both kinds, and memory, files, threads and segments before and after --flat reloads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import percentiles, publish

if TYPE_CHECKING:
    from ai_runner_studio.session import Session
    from benchmarks.output_log import Colour, OutputLog
    from runner.live.events import Event, LoadSucceeded, MetricsTaken
    from runner.live.process.process import PipelineProcess

FPS = 30
SIZE = 512
LIMIT_S = 60.0
REQUEST = "bench"
MIB = 1 << 20

NUMPY = """\
import cv2
import numpy as np
import torch


def effect(frame: torch.Tensor) -> torch.Tensor:
    picture = frame[0].numpy().copy()
    picture[128:-32] = cv2.blur(picture[128:-32], (5, 5))
    picture[-32:, :32] = np.array({colour}, np.float32) / 255
    return torch.from_numpy(picture)[None]
"""

TORCH = """\
import torch

LAYERS, WIDTH = 75, 1024  # 75 x 1024 x 1024 float32: 300 MB


class effect:
    def __init__(self) -> None:
        self.layers = [torch.randn(WIDTH, WIDTH) for _ in range(LAYERS)]
        self.turn = 0

    def transform(self, frame: torch.Tensor) -> torch.Tensor:
        self.turn += 1
        weights = self.layers[self.turn % LAYERS]
        picture = frame.clone()
        picture[:, 128:-32] = (frame[:, 128:-32] + (weights[0] @ weights[1]).tanh() * 0.01).clamp(0, 1)
        picture[:, -32:, :32] = torch.tensor({colour}) / 255
        return picture
"""

PIPELINES = {"numpy, cv2": NUMPY, "torch, 300 MB": TORCH}


@dataclass(frozen=True, slots=True)
class Way:
    """How a session is told to reload."""

    name: str
    keep_weights: bool
    standby: bool


WAYS = (
    Way("in place", keep_weights=True, standby=False),
    Way("standby", keep_weights=False, standby=True),
    Way("cold", keep_weights=False, standby=False),
)


def colour_of(save: int) -> Colour:
    """A colour for every save, that no other one of the latest 160 has."""
    return 40 + 5 * (save % 40), 200 - 5 * (save // 40 % 4), 90


def write(project: Path, source: str, colour: Colour) -> None:
    (project / "effects.py").write_text(source.format(colour=colour))


class Saves:
    """One session, in which the pipeline is saved again and again."""

    def __init__(self, session: Session, outputs: OutputLog, project: Path, source: str) -> None:
        self.took_ms: list[float] = []
        self.loads: list[LoadSucceeded] = []
        self.failures: list[str] = []
        self.session = session
        self._outputs = outputs
        self._project = project
        self._source = source
        self._saved = 0
        self._served = asyncio.Event()
        session.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.type == "LoadSucceeded":
            self.loads.append(event)
            self._served.set()
        elif event.type == "LoadFailed":
            self.failures.append(event.report.headline)

    async def run(self, times: int) -> None:
        """Save at random moments; each time wait until the new code has taken over."""
        self._outputs.seen = self._outputs.seen[-1:]
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.2, 0.7))
            await self._save()

    async def _save(self) -> None:
        self._saved += 1
        self._served.clear()
        known = len(self._outputs.seen)
        began = time.perf_counter()
        write(self._project, self._source, colour_of(self._saved))
        first = await self._outputs.first_of(colour_of(self._saved), LIMIT_S, known)
        self.took_ms.append((first.at - began) * 1000)
        await asyncio.wait_for(self._served.wait(), LIMIT_S)

    async def ready(self, way: Way) -> None:
        """Wait for the first picture, and for the standby where there is to be one."""
        await self._outputs.first_of(colour_of(0), LIMIT_S)
        while way.standby and getattr(self.session.snapshot.standby, "state", "") != "ready":
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)

    async def counts(self) -> MetricsTaken:
        """The stream's totals while nothing is under way: the source is held for a moment."""
        await self.session.set_paused(True)
        await asyncio.sleep(1.5)  # metrics come twice a second
        metrics = self.session.snapshot.metrics
        await self.session.set_paused(False)
        return metrics

    def steps_ms(self) -> dict[str, float]:
        """Step -> median of all reloads."""
        steps: dict[str, list[float]] = defaultdict(list)
        for load in self.loads[1:]:
            for step in load.steps:
                steps[step.name].append(step.seconds * 1000)
        return {name: round(statistics.median(values), 1) for name, values in steps.items()}

    def ways(self) -> dict[str, int]:
        """How the reloads were really done -> how many."""
        done: dict[str, int] = defaultdict(int)
        for load in self.loads[1:]:
            done[" ".join(filter(None, (load.plan.level, load.plan.way, load.plan.standby)))] += 1
        return dict(done)


@asynccontextmanager
async def saving(way: Way, source: str) -> AsyncIterator[Saves]:
    """A session that is up and running, and can be saved to."""
    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import Settings
    from benchmarks.output_log import OutputLog

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write(project, source, colour_of(0))
        settings = Settings(
            "effects:effect",
            input=f"pattern:{SIZE}x{SIZE}@{FPS}",
            project=project,
            python=sys.executable,
            keep_weights=way.keep_weights,
            standby=way.standby,
        )
        session = Session(settings, stream_when_ready=True)
        outputs = OutputLog(session)
        run = Saves(session, outputs, project, source)
        await session.start()
        watching = asyncio.create_task(outputs.follow())
        try:
            await run.ready(way)
            yield run
        finally:
            watching.cancel()
            await session.close()


async def timed(pipeline: str, way: Way, saves: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row, and what is to be told beside the table."""
    async with saving(way, PIPELINES[pipeline]) as run:
        await run.run(saves)
    row = {"pipeline": pipeline, "way": way.name, "times": saves, **percentiles_of(run.took_ms)}
    return row, {"steps_ms": run.steps_ms(), "done": run.ways(), "failed": run.failures}


def percentiles_of(took_ms: list[float]) -> dict[str, float]:
    return {f"{name} ms": round(value, 1) for name, value in percentiles(took_ms).items()}


# ---- counting ----------------------------------------------------------------------------------


async def counted(way: Way, saves: int) -> dict[str, Any]:
    """Frames in and out over many reloads."""
    async with saving(way, NUMPY) as run:
        before = await run.counts()
        await run.run(saves)
        after = await run.counts()
    frames_in, frames_out = after.frames_in - before.frames_in, after.frames_out - before.frames_out
    dropped = {name: count - before.dropped.get(name, 0) for name, count in after.dropped.items()}
    return {
        "way": way.name,
        "reloads": saves,
        "frames in": frames_in,
        "frames out": frames_out,
        "lost": frames_in - frames_out,
        "lost to hand-overs": sum(load.frames_lost for load in run.loads),
        "dropped": {name: count for name, count in dropped.items() if count},
        "done": run.ways(),
    }


# ---- growth ------------------------------------------------------------------------------------


def held_by(name: str, pid: int) -> dict[str, Any]:
    """What a process holds."""
    import psutil

    process = psutil.Process(pid)
    links = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return {
        f"{name} MiB": round(process.memory_info().rss / MIB, 1),
        f"{name} files": len(links),
        f"{name} threads": process.num_threads(),
        f"{name} segments": sum("ai-runner-segment" in link for link in links),
    }


async def grown(way: Way, saves: int) -> list[dict[str, Any]]:
    """What studio and host hold, a few times over many reloads. The studio is this process."""
    rows = []
    async with saving(way, NUMPY) as run:
        done = 0
        for upto in (10, saves // 2, saves):
            await run.run(upto - done)
            done = upto
            await asyncio.sleep(1.0)
            host = run.session.snapshot.host
            assert host is not None
            rows.append(
                {"way": way.name, "reloads": done, **held_by("host", host.pid), **held_by("studio", os.getpid())}
            )
    return rows


# ---- the plain way -----------------------------------------------------------------------------


class Restarts:
    """A pipeline process that is ended and started again while frames come in at a steady rate."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self._first = asyncio.Event()
        self._process: PipelineProcess | None = None
        self._sent = 0

    async def run(self, times: int) -> None:
        pump = asyncio.create_task(self._pump())
        self._process = await self._started()
        await asyncio.wait_for(self._first.wait(), LIMIT_S)
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.2, 0.7))
            began = time.perf_counter()
            old, self._process = self._process, None
            await old.stop()
            self._first.clear()
            self._process = await self._started()
            await asyncio.wait_for(self._first.wait(), LIMIT_S)
            self.took_ms.append((time.perf_counter() - began) * 1000)
        pump.cancel()
        await self._process.stop()

    async def _started(self) -> PipelineProcess:
        from runner.live.pipelines import PipelineSpec
        from runner.live.process.process import PipelineProcess
        from runner.live.trickle import RawFrame

        def output(frame: RawFrame, _request_id: str) -> None:
            self._first.set()
            frame.release()

        spec = PipelineSpec(pipeline_cls="effects:effect")
        process = PipelineProcess(spec, on_frame=output, on_message=lambda _: None)
        await process.start({})
        await process.ready(LIMIT_S)
        process.open_stream(REQUEST)
        return process

    async def _pump(self) -> None:
        from runner.live.trickle import RawFrame
        from runner.live.trickle.pattern import TestPattern

        picture = TestPattern(SIZE, SIZE).picture(0)
        due = time.perf_counter()
        while True:
            self._sent += 1
            if self._process is not None:
                self._process.offer(RawFrame(picture, self._sent, Fraction(1, FPS)), REQUEST)
            due += 1 / FPS
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def restarted(pipeline: str, times: int) -> dict[str, Any]:
    """The row of the plain way."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), PIPELINES[pipeline], colour_of(0))
        sys.path.insert(0, folder)  # spawned processes look there too
        restarts = Restarts()
        await restarts.run(times)
        sys.path.remove(folder)
    return {"pipeline": pipeline, "way": "restart", "times": times, **percentiles_of(restarts.took_ms)}


async def main(saves: int, restarts: int, count: int, flat: int) -> None:
    rows: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    for pipeline in PIPELINES:
        plain = await restarted(pipeline, restarts)
        for way in WAYS:
            row, details = await timed(pipeline, way, saves)
            rows.append(row)
            more[f"{pipeline}, {way.name}"] = details
        rows.append(plain)
        for row in rows[-len(WAYS) - 1 :]:
            row["of restart"] = round(row["p50 ms"] / plain["p50 ms"], 3)
    counts = [await counted(way, count) for way in WAYS[:2]] if count else []
    growth = [row for way in WAYS[:2] for row in await grown(way, flat)] if flat else []
    publish("reload", rows, **more, frames=counts, growth=growth)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--restarts", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--count", type=int, default=100, help="reloads over which frames are counted (%(default)s)")
    parser.add_argument("--flat", type=int, default=200, help="reloads over which growth is looked for (%(default)s)")
    options = parser.parse_args()
    asyncio.run(main(options.saves, options.restarts, options.count, options.flat))

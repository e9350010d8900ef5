"""How long from a save to the new code's first frame, what is lost on the way, and what would a restart cost?

    python -m benchmarks.reload [--saves 10] [--restarts 5] [--count 10] [--flat 50]

A studio session without a screen, at 30 pictures a second of 512x512. Every save gives the pipeline's pictures
another colour in one corner; the rows with the pattern's frame number pass through unchanged, so both new code and
missing frames can be seen in what comes out. Side by side:

- *in place*: the code goes into the running process, the weights stay;
- *standby*: a fresh process that had done the third-party imports takes over;
- *cold*: a fresh process takes over that had not;
- *restart*: what Livepeer's runtime does, with this project's process: end it, start it again, while frames come in.

For a pipeline of numpy and cv2, and for one with 300 MB of random torch weights. Then frames are counted over
--count reloads in place, by overlap and by hand-over, at 30 and 60 fps, in 512x512 and 1280x720: by the numbers in the
pictures that come out, next to what the runner reports. Last, memory, files, threads and segments before and after
--flat reloads. 0 leaves a part out.
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

from benchmarks.observed_loss import RATIO_INPUTS
from benchmarks.report import percentiles, publish

if TYPE_CHECKING:
    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import ReplaceWay
    from benchmarks.observed_loss import ObservedLoss
    from benchmarks.output_log import Colour, OutputLog
    from runner.live.events import Event, LoadSucceeded
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

from sized import Sized


def effect(frame: torch.Tensor, params: Sized) -> torch.Tensor:
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

PARAMS = """\
from pydantic import Field

from runner.live.pipelines import BaseParams


class Sized(BaseParams):
    width: int = Field(default=512, ge=64)
    height: int = Field(default=512, ge=64)
"""

PIPELINES = {"numpy, cv2": NUMPY, "torch, 300 MB": TORCH}


@dataclass(frozen=True, slots=True)
class Way:
    """How a session is told to reload."""

    name: str
    keep_weights: bool
    standby: bool
    replace: ReplaceWay = "auto"


WAYS = (
    Way("in place", keep_weights=True, standby=False),
    Way("standby", keep_weights=False, standby=True),
    Way("cold", keep_weights=False, standby=False),
)
COUNTED_WAYS = (
    Way("in place", keep_weights=True, standby=False),
    Way("overlap", keep_weights=False, standby=True, replace="overlap"),
    Way("hand-over", keep_weights=False, standby=True, replace="hand-over"),
)
COUNTED_SOURCES = ((512, 512, 30), (512, 512, 60), (1280, 720, 30), (1280, 720, 60))


def colour_of(save: int) -> Colour:
    """A colour for every save, that no other one of the latest 160 has."""
    return 40 + 5 * (save % 40), 200 - 5 * (save // 40 % 4), 90


def write(project: Path, source: str, colour: Colour) -> None:
    if not (project / "sized.py").exists():
        (project / "sized.py").write_text(PARAMS)
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

    async def lose(self, times: int) -> list[ObservedLoss]:
        """Save at random moments; what each reload has cost, as seen from outside."""
        losses: list[ObservedLoss] = []
        await asyncio.sleep(RATIO_INPUTS / FPS)  # the first pictures of a stream are slower
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.7, 1.2))
            first = self._newest_input() + 1
            await self._save()
            losses.append(await self._loss_since(first, losses[-1].last + 1 if losses else 0))
        return losses

    def _newest_input(self) -> int:
        from runner.live.trickle.pattern import read_frame_number

        frame = self.session.input_tap.newest()
        number = read_frame_number(frame.pixels) if frame is not None else None
        assert number is not None, "the input has no frame numbers"
        return number

    async def _loss_since(self, first: int, normal_from: int) -> ObservedLoss:
        from benchmarks.observed_loss import observed_loss

        while True:
            self._outputs.arrived.clear()
            seen = [picture for picture in self._outputs.seen if picture.number is not None]
            loss = observed_loss(seen, first, colour_of(self._saved), normal_from)
            if loss is not None:
                return loss
            await asyncio.wait_for(self._outputs.arrived.wait(), LIMIT_S)

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
async def saving(way: Way, source: str, width: int = SIZE, height: int = SIZE, fps: int = FPS) -> AsyncIterator[Saves]:
    """A session that is up and running, and can be saved to."""
    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import Settings
    from benchmarks.output_log import OutputLog

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write(project, source, colour_of(0))
        settings = Settings(
            "effects:effect",
            input=f"pattern:{width}x{height}@{fps}",
            # Pictures of the host's own would be counted as outputs.
            params={"width": width, "height": height, "show_reloading_frame": False},
            project=project,
            python=sys.executable,
            keep_weights=way.keep_weights,
            standby=way.standby,
            replace=way.replace,
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


async def counted(way: Way, source: tuple[int, int, int], saves: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row: frames lost as seen from outside and as reported, and how long the output stood still; its details."""
    width, height, fps = source
    async with saving(way, NUMPY, width, height, fps) as run:
        losses = await run.lose(saves)
    reported = run.loads[1:]
    gaps = [round(loss.gap_s * 1000, 1) for loss in losses]
    reported_gaps = [round((load.output_gap_s or 0.0) * 1000, 1) for load in reported]
    row = {
        "way": way.name,
        "source": f"{width}x{height}@{fps}",
        "saves": saves,
        "answered": round(statistics.mean(loss.ratio for loss in losses), 3),
        "lost": sum(loss.frames for loss in losses),
        "reported": sum(load.frames_lost for load in reported),
        **gap_figures("gap", gaps),
        **gap_figures("reported", reported_gaps),
    }
    saves_seen = [
        {
            "lost": loss.frames,
            "missing": loss.missing,
            "reported": load.frames_lost,
            "gap_ms": gap,
            "reported_gap_ms": reported_gap,
        }
        for loss, load, gap, reported_gap in zip(losses, reported, gaps, reported_gaps, strict=True)
    ]
    return row, {"done": run.ways(), "failed": run.failures, "saves": saves_seen}


def gap_figures(name: str, gaps_ms: list[float]) -> dict[str, float]:
    found = percentiles(gaps_ms)
    return {f"{name} p50 ms": found["p50"], f"{name} p95 ms": found["p95"], f"{name} max ms": max(gaps_ms)}


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


async def times(saves: int, restarts: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all ways and pipelines, and details."""
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for pipeline in PIPELINES:
        plain = await restarted(pipeline, restarts)
        for way in WAYS:
            row, details[f"{pipeline}, {way.name}"] = await timed(pipeline, way, saves)
            rows.append(row)
        rows.append(plain)
        for row in rows[-len(WAYS) - 1 :]:
            row["of restart"] = round(row["p50 ms"] / plain["p50 ms"], 3)
    return rows, details


async def counts(saves: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all ways and sources, and details."""
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for way in COUNTED_WAYS:
        for source in COUNTED_SOURCES:
            row, details["{}, {}x{}@{}".format(way.name, *source)] = await counted(way, source, saves)
            rows.append(row)
    return rows, details


async def main(saves: int, restarts: int, count: int, flat: int) -> None:
    if saves:
        rows, details = await times(saves, restarts)
        publish("reload", rows, **details)
    if count:
        rows, details = await counts(count)
        publish("reload-frames", rows, **details)
    if flat:
        publish("reload-growth", [row for way in WAYS[:2] for row in await grown(way, flat)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=10, help="timed, for each row (%(default)s)")
    parser.add_argument("--restarts", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--count", type=int, default=10, help="reloads over which frames are counted (%(default)s)")
    parser.add_argument("--flat", type=int, default=50, help="reloads over which growth is looked for (%(default)s)")
    options = parser.parse_args()
    asyncio.run(main(options.saves, options.restarts, options.count, options.flat))

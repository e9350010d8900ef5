"""How long from a save to the new code's first frame, what is lost on the way, and what would a restart cost?

    python -m benchmarks.reload [--saves 20] [--restarts 5]

A studio session without a screen, at 30 pictures a second of 512x512. Every save gives the pipeline's
pictures another colour in one corner; the rows with the pattern's frame number pass through
unchanged, so both new code and missing frames can be seen in what comes out. *restart* is what
Livepeer's runtime does, with this project's process: end it, start it again, while frames go on coming.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
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

PIPELINE = """\
import torch

COLOUR = {colour}


def effect(frame: torch.Tensor) -> torch.Tensor:
    picture = frame.clone()
    picture[:, 128:] = (frame[:, 128:] * 3).round() / 3
    picture[:, -32:, :32] = torch.tensor(COLOUR, device=frame.device) / 255
    return picture
"""


def colour_of(save: int) -> Colour:
    """A colour for every save, that no other one has."""
    return 40 + 5 * (save % 40), 200 - save // 40, 90


def write(project: Path, colour: Colour) -> None:
    (project / "effects.py").write_text(PIPELINE.format(colour=colour))


class Saves:
    """One session, in which the pipeline is saved again and again."""

    def __init__(self, session: Session, outputs: OutputLog, project: Path) -> None:
        self.took_ms: list[float] = []
        self.loads: list[LoadSucceeded] = []
        self.failures: list[str] = []
        self._session = session
        self._outputs = outputs
        self._project = project
        self._served = asyncio.Event()
        session.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.type == "LoadSucceeded":
            self.loads.append(event)
            self._served.set()
        elif event.type == "LoadFailed":
            self.failures.append(event.report.headline)

    async def save(self, number: int) -> None:
        """Save, and wait until the new code has taken over and the old process is gone."""
        self._served.clear()
        began = time.perf_counter()
        write(self._project, colour_of(number))
        first = await self._outputs.first_of(colour_of(number), LIMIT_S)
        self.took_ms.append((first.at - began) * 1000)
        await asyncio.wait_for(self._served.wait(), LIMIT_S)

    async def counts(self) -> MetricsTaken:
        """The stream's totals while nothing is under way: the source is held for a moment."""
        await self._session.set_paused(True)
        await asyncio.sleep(1.5)  # metrics come twice a second
        metrics = self._session.snapshot.metrics
        await self._session.set_paused(False)
        return metrics

    def steps_ms(self) -> dict[str, float]:
        """Step -> median of all reloads."""
        steps: dict[str, list[float]] = defaultdict(list)
        for load in self.loads[1:]:
            for step in load.steps:
                steps[step.name].append(step.seconds * 1000)
        return {name: round(statistics.median(values), 1) for name, values in steps.items()}


async def by_saving(saves: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of the studio's way, and what is to be told beside the table."""
    from ai_runner_studio.session import Session
    from ai_runner_studio.settings import Settings
    from benchmarks.output_log import OutputLog

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write(project, colour_of(0))
        settings = Settings(
            "effects:effect", input=f"pattern:{SIZE}x{SIZE}@{FPS}", project=project, python=sys.executable
        )
        session = Session(settings, stream_when_ready=True)
        outputs = OutputLog(session)
        run = Saves(session, outputs, project)
        await session.start()
        watching = asyncio.create_task(outputs.follow())
        try:
            await outputs.first_of(colour_of(0), LIMIT_S)
            await asyncio.sleep(1.0)
            before = await run.counts()
            outputs.seen = outputs.seen[-1:]
            for number in range(1, saves + 1):
                await asyncio.sleep(random.uniform(0.2, 0.7))
                await run.save(number)
            skipped, seen = outputs.skipped(), len(outputs.seen)
            after = await run.counts()
        finally:
            watching.cancel()
            await session.close()
    frames_in, frames_out = after.frames_in - before.frames_in, after.frames_out - before.frames_out
    row = {
        "way": "save",
        "times": saves,
        "frames in": frames_in,
        "frames out": frames_out,
        "lost": frames_in - frames_out,
        **{f"{name} ms": value for name, value in percentiles(run.took_ms).items()},
    }
    dropped = {name: count - before.dropped.get(name, 0) for name, count in after.dropped.items()}
    more = {
        "steps_ms": run.steps_ms(),
        "frames_lost_by_event": sum(load.frames_lost for load in run.loads),
        "dropped": {name: count for name, count in dropped.items() if count},
        "seen_in_tap": seen,
        "skipped_in_tap": skipped,
        "loading_pictures": outputs.loading,
        "failed_loads": run.failures,
    }
    return row, more


class Restarts:
    """A pipeline process that is ended and started again while frames come in at a steady rate."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self.frames_in = self.frames_out = 0
        self._first = asyncio.Event()
        self._process: PipelineProcess | None = None

    async def run(self, times: int) -> None:
        pump = asyncio.create_task(self._pump())
        self._process = await self._started()
        await asyncio.wait_for(self._first.wait(), LIMIT_S)
        self.frames_in = self.frames_out = 0
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
            self.frames_out += 1
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
            self.frames_in += 1
            if self._process is not None:
                self._process.offer(RawFrame(picture, self.frames_in, Fraction(1, FPS)), REQUEST)
            due += 1 / FPS
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def by_restarting(times: int) -> dict[str, Any]:
    """The row of the plain way."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), colour_of(0))
        sys.path.insert(0, folder)  # spawned processes look there too
        restarts = Restarts()
        await restarts.run(times)
        sys.path.remove(folder)
    return {
        "way": "restart",
        "times": times,
        "frames in": restarts.frames_in,
        "frames out": restarts.frames_out,
        "lost": restarts.frames_in - restarts.frames_out,
        **{f"{name} ms": value for name, value in percentiles(restarts.took_ms).items()},
    }


async def main(saves: int, restarts: int) -> None:
    row, more = await by_saving(saves)
    publish("reload", [row, await by_restarting(restarts)], **more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--restarts", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    asyncio.run(main(options.saves, options.restarts))

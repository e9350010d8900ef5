"""Frames lost to a reload as reported, against what an observer of the outputs counts; with real processes at 30 fps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from runner.live.events import LoadStarted, LoadSucceeded
from runner.live.process import loads as loads_module
from runner.live.process.loss_counter import RATIO_INPUTS
from runner.live.process.policy import ReloadOptions
from runner.live.process.revision import LoadRequest

from ..conftest import WriteModule, raw_frame
from .guarded import QUICK, Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")
FPS = 30

SOURCE = """
import os, time
import torch

class f:
    def __init__(self):
        self.frames = 0
    def transform(self, frame):
        self.frames += 1
        {body}
        return torch.full_like(frame, {value} / 255)
"""
SLOW_ONCE = "time.sleep(0.3 if os.path.exists('slow') and not os.unlink('slow') else 0)"
ONLY_PROVES = "if self.frames > 2: return None"
SLOW_NOW_AND_THEN = "time.sleep(0.3 * (self.frames % 20 == 5))"
WAYS = {
    "in place": ReloadOptions(keep_weights=True),
    "overlap": ReloadOptions(replace="overlap"),
    "hand-over": ReloadOptions(replace="hand-over"),
}


class Observed:
    """A stream whose pipeline is saved again and again, as its outputs show it. Inputs have the numbers 0, 1, ... as pts.

    Attributes:
        reloading: inputs of the reloads so far: not how the pipeline normally is.
    """

    def __init__(self, run: Guarded, write: WriteModule) -> None:
        self.run = run
        self.reloading: set[int] = set()
        self._write = write

    def save(self, value: int, body: str = "pass") -> Save:
        Path("slow").touch()
        path = self._write("observed", SOURCE.format(value=value, body=body))
        save = Save(self)
        self.run.guardian.replace(LoadRequest("saved", (str(path),)))
        return save

    async def loaded(self, revision: int) -> LoadSucceeded:
        await self.run.until(lambda: any(load.revision == revision for load in self.loads))
        return next(load for load in self.loads if load.revision == revision)

    async def outputs(self, count: int) -> None:
        """Wait for so many more."""
        known = len(self.run.outputs)
        await self.run.until(lambda: len(self.run.outputs) >= known + count)

    @property
    def loads(self) -> list[LoadSucceeded]:
        return [event for event in self.run.events if isinstance(event, LoadSucceeded)]

    @property
    def answered(self) -> list[int]:
        return [frame.pts for frame in self.run.outputs]


class Save:
    """A save, and how the stream was until then."""

    def __init__(self, stream: Observed) -> None:
        self._stream = stream
        self._first = stream.run.sent  # number of the first input after the save
        answered = stream.answered
        since_the_first = range(min(answered, default=0), max(answered, default=-1) + 1)
        normal = [number for number in since_the_first if number not in stream.reloading]
        latest = normal[-RATIO_INPUTS:]
        self.ratio = len(set(answered) & set(latest)) / max(1, len(latest))

    def lost(self, value: int) -> int:
        """Inputs up to that of the second output with this value that should have an output, and have none."""
        answered, values = self._stream.answered, self._stream.run.values
        return self.lost_until([number for number, given in zip(answered, values, strict=True) if given == value][1])

    def lost_until(self, end: int) -> int:
        """The same up to input `end`."""
        answered = self._stream.answered
        window = set(range(self._first, end + 1))
        self._stream.reloading |= window
        return max(0, round(len(window) * self.ratio - len(window & set(answered))))


@asynccontextmanager
async def observed(write: WriteModule, way: str, body: str = "pass") -> AsyncIterator[Observed]:
    write("observed", SOURCE.format(value=10, body=body))
    options = WAYS[way]
    async with guarded("observed:f", QUICK, options) as run:
        await run.guardian.wait_serving()
        run.stream(FPS)
        await run.until(lambda: len(run.outputs) > RATIO_INPUTS)
        yield Observed(run, write)


class TestCount:
    @pytest.mark.parametrize("way", WAYS)
    async def test_is_that_of_an_observer(self, write: WriteModule, way: str) -> None:
        async with observed(write, way) as stream:
            for revision, body in ((2, "pass"), (3, SLOW_ONCE), (4, SLOW_NOW_AND_THEN), (5, "pass")):
                save = stream.save(revision * 10, body)
                load = await stream.loaded(revision)
                assert (load.plan.way, load.plan.why) == (way, "")
                assert load.frames_lost == save.lost(revision * 10)
                assert load.output_gap_s is not None
                await stream.outputs(5)

    @pytest.mark.quick
    async def test_is_more_than_none_where_new_code_holds_the_stream_up(self, write: WriteModule) -> None:
        async with observed(write, "in place") as stream:
            save = stream.save(20, SLOW_ONCE)
            load = await stream.loaded(2)
            assert load.frames_lost == save.lost(20) > 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_of_a_slow_pipeline_is_compared_with_itself(self, write: WriteModule, way: str) -> None:
        async with observed(write, way, "time.sleep(0.08)") as stream:
            save = stream.save(20, "time.sleep(0.081)")
            load = await stream.loaded(2)
            assert save.ratio < 0.7
            assert load.frames_lost == save.lost(20)

    async def test_of_saves_that_supersede_one_another_is_with_the_last(self, write: WriteModule) -> None:
        async with observed(write, "hand-over") as stream:
            first = stream.save(20)
            for value in (30, 40, 50):
                await asyncio.sleep(0)
                stream.save(value)
            last = await stream.loaded(5)
            assert sum(load.frames_lost for load in stream.loads) == last.frames_lost == first.lost(50)

    async def test_goes_on_from_the_end_of_a_process_to_its_restart(self, write: WriteModule) -> None:
        async with observed(write, "overlap") as stream:
            process = stream.run.guardian.process
            assert process is not None
            process.kill()
            load = await stream.loaded(2)
            assert load.plan.way == "start"
            lost = max(after - before - 1 for before, after in pairwise(stream.answered))
            assert 0 < load.frames_lost <= lost  # those in front of its end are not the restart's


class TestReport:
    async def test_has_what_is_known_where_the_new_code_gives_nothing_more(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loads_module, "COUNT_LIMIT_S", 0.5)
        async with observed(write, "overlap") as stream:
            save = stream.save(20, ONLY_PROVES)
            load = await stream.loaded(2)
            assert stream.run.values.count(20) < 2
            assert load.frames_lost == save.lost_until(stream.answered[-1])

    async def test_is_not_waited_for_by_the_next_save(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loads_module, "COUNT_LIMIT_S", 60.0)
        async with observed(write, "overlap") as stream:
            first = stream.save(20, ONLY_PROVES)
            await stream.run.until(lambda: stream.run.guardian.board.outputs.retiring is not None)
            await stream.run.until(lambda: stream.run.guardian.board.outputs.retiring is None)
            stream.save(30)
            await stream.loaded(3)
            assert sum(load.frames_lost for load in stream.loads) == first.lost(30)
            order = [
                (event.type, event.revision)
                for event in stream.run.events
                if isinstance(event, (LoadStarted, LoadSucceeded))
            ]
            assert order == [(kind, number) for number in (1, 2, 3) for kind in ("LoadStarted", "LoadSucceeded")]

    async def test_comes_at_once_while_the_source_is_held(self, write: WriteModule) -> None:
        async with observed(write, "overlap") as stream:
            stream.run._tasks[-1].cancel()
            stream.run.guardian.pause(True)
            stream.save(20)
            load = await stream.loaded(2)
            assert load.frames_lost == 0

    async def test_comes_at_once_without_a_stream(self, write: WriteModule) -> None:
        write("observed", SOURCE.format(value=10, body="pass"))
        async with guarded("observed:f", QUICK, WAYS["in place"]) as run:
            await run.guardian.wait_serving()
            stream = Observed(run, write)
            stream.save(20)
            load = await stream.loaded(2)
            assert (load.frames_lost, load.output_gap_s) == (0, None)

    @pytest.mark.parametrize("way", WAYS)
    async def test_of_a_lossless_stream_waits_for_two_outputs_of_the_new_code(
        self, write: WriteModule, way: str
    ) -> None:
        write("observed", SOURCE.format(value=10, body="pass"))
        async with guarded("observed:f", QUICK, WAYS[way]) as run:
            await run.guardian.wait_serving()
            run.guardian.open_stream("s1", lossless=True)
            run._tasks.append(asyncio.create_task(send(run)))
            await run.until(lambda: len(run.outputs) > RATIO_INPUTS)
            stream = Observed(run, write)
            stream.save(20)
            load = await stream.loaded(2)
            assert run.values.count(20) >= 2
            assert load.frames_lost == 0
            assert load.output_gap_s is not None


async def send(run: Guarded) -> None:
    while True:
        await run.guardian.send(raw_frame(run.sent))
        run.sent += 1
        await asyncio.sleep(1 / FPS)

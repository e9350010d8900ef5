"""PipelineContract: what every pipeline promises to the runner, as one class of tests.

    class TestContract(PipelineContract):
        spec = PipelineSpec(name="mine", pipeline_cls="mine.pipeline:Mine", params_cls="mine.params:MineParams")
        live_params = [{"strength": 0.2}]
        bad_params = [{"strength": "much"}]

The tests are ordinary functions with event loops of their own, so that they need no plugin of pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import psutil
import pytest

from ..errors import ParamsError
from ..live.pipelines import PipelineSpec
from ..live.pipelines.loader import HEAVY_MODULES, load_pipeline_class, parse_params
from ..module_command import SAFE_PATH
from .leave_out import leave_out
from .numbered_frames import TIME_BASE, NumberedFrames
from .pipeline_run import Given, Hangs, PipelineRun, params_class, pipeline_run, prepare
from .process_run import process_run

FIRST, SECOND = "the first request", "the second request"
_LIGHT = (
    f"{SAFE_PATH}\n"
    + """
from runner.live.pipelines import PipelineSpec
from runner.live.pipelines.loader import load_params_class

spec = PipelineSpec.model_validate_json(sys.argv[1])
load_params_class(spec)
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""
)


# Checks of what a pipeline need not have -> the attribute that says whether it does.
_OPTIONAL = {
    "test_pictures_pass_unchanged": "exact",
    "test_live_params_are_taken_without_a_reload": "live_params",
    "test_other_params_are_taken_by_a_reload": "reload_params",
    "test_bad_params_are_refused_and_change_nothing": "bad_params",
}


class PipelineContract:
    """Checks one pipeline; subclass it and name yours.

    Attributes:
        spec: the pipeline. Its `initial_params` should make it small and quick.
        size: (width, height) of the frames that it is fed, in pixels.
        output_size: of its outputs, None for the same.
        frames: how many are fed in each check: several, and whole batches if it gathers any.
        outputs_per_input: a fraction where it gives fewer; None if it does not promise a number.
        latency_frames: inputs whose outputs it still holds when a stream ends.
        exact: it gives every picture back as it was, once or several times.
        deterministic: the same inputs give the same outputs, bit for bit, in another life of the pipeline.
        live_params: complete sets that are taken without a reload.
        reload_params: complete sets for which it reloads: `update_params` returns a task.
        bad_params: complete sets that are refused, after which it goes on as if they had never come.
        patience_s: for a call of the pipeline, or its outputs; more is taken for a hang.
    """

    spec: PipelineSpec
    size: tuple[int, int] = (64, 64)
    output_size: tuple[int, int] | None = None
    frames: int = 8
    outputs_per_input: Fraction | int | None = 1
    latency_frames: int = 0
    exact: bool = False
    deterministic: bool = True
    live_params: Sequence[dict[str, Any]] = ()
    reload_params: Sequence[dict[str, Any]] = ()
    bad_params: Sequence[dict[str, Any]] = ()
    patience_s: float = 60.0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        leave_out(cls, PipelineContract, _OPTIONAL)

    # ---- what the tests share ----------------------------------------------------------------

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _one_thread_for_torch(cls) -> Iterator[None]:
        """Several are slower than one for small pictures, and much slower on a machine that is busy."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls) -> NumberedFrames:
        """What is fed."""
        return NumberedFrames(*cls.size)

    @pytest.fixture(scope="class")
    @classmethod
    def given(cls, source: NumberedFrames) -> list[Given]:
        """The outputs of two streams, one after the other, in one life of the pipeline."""
        return asyncio.run(cls().two_streams(source))

    async def two_streams(self, source: NumberedFrames, refuse: Sequence[dict[str, Any]] = ()) -> list[Given]:
        """Feed both streams; between them params that must be refused."""
        async with pipeline_run(self.spec, self.patience_s) as run:
            await self.feed(run, source, 0, FIRST)
            for bad in refuse:
                await _must_refuse(run, bad)
            await self.feed(run, source, 1, SECOND)
        return run.given

    async def feed(self, run: PipelineRun, source: NumberedFrames, turn: int, request_id: str = FIRST) -> None:
        """Feed one more stream, and wait for its outputs; `turn`: how many went before."""
        already = len(run.given)
        await run.feed((source.frame(number) for number in self.numbers(turn)), request_id)
        await run.flush()
        await run.expect(already + (self.expected or 1))

    def numbers(self, turn: int) -> range:
        """Of the frames in one of the streams."""
        return range(turn * self.frames, (turn + 1) * self.frames)

    @property
    def expected(self) -> int | None:
        """Outputs of one stream, None if no number is promised."""
        if self.outputs_per_input is None:
            return None
        return math.floor((self.frames - self.latency_frames) * self.outputs_per_input)

    # ---- frames ------------------------------------------------------------------------------

    def test_outputs_are_as_many_as_promised(self, given: list[Given]) -> None:
        if self.outputs_per_input is None:
            assert given
        else:
            # What a pipeline holds back of the first stream may come with the second.
            late = math.ceil(self.latency_frames * self.outputs_per_input)
            assert 2 * self.expected <= len(given) <= 2 * self.expected + late  # type: ignore[operator]

    def test_outputs_are_pictures_in_range(self, given: list[Given]) -> None:
        from ..live.process.tensor import range_warning

        width, height = self.output_size or self.size
        for number, output in enumerate(given):
            assert tuple(output.picture.shape) == (height, width, 3), f"output {number}"
            assert range_warning(output.picture) == "", f"output {number}"

    def test_outputs_are_not_written_to_once_they_are_given(self, given: list[Given]) -> None:
        for number, output in enumerate(given):
            now = output.tensor.detach().reshape(output.picture.shape).float().cpu()
            assert now.equal(output.picture), f"output {number} has changed after it was given: give a new tensor"

    def test_outputs_come_in_the_order_of_their_times(self, given: list[Given]) -> None:
        times = [output.time_s for output in given]
        backwards = [f"{later} s after {earlier} s" for earlier, later in pairwise(times) if later <= earlier]
        assert backwards == [], "times of outputs must grow"

    def test_times_are_those_of_the_inputs_or_lie_between_them(
        self, given: list[Given], source: NumberedFrames
    ) -> None:
        inputs = [source.pts(number) * TIME_BASE for turn in (0, 1) for number in self.numbers(turn)]
        times = [output.time_s for output in given]
        if self.outputs_per_input == 1 and not self.latency_frames:
            assert times == inputs
        elif self.outputs_per_input == 1:
            assert set(times) <= set(inputs)
        else:
            assert inputs[0] <= times[0]
            assert times[-1] <= inputs[-1] + source.interval * TIME_BASE

    def test_outputs_belong_to_the_request_of_their_input(self, given: list[Given], source: NumberedFrames) -> None:
        border_s = source.pts(self.frames) * TIME_BASE
        before = {output.request_id for output in given if output.time_s < border_s}
        after = {output.request_id for output in given if output.time_s >= border_s}
        assert (before, after) == ({FIRST}, {SECOND})

    def test_pictures_pass_unchanged(self, given: list[Given], source: NumberedFrames) -> None:
        for output in given:
            number = math.floor((output.time_s / TIME_BASE - source.pts(0)) / source.interval)
            assert output.picture.equal(source.tensor(number)[0].cpu()), f"picture {number} is another one"

    # ---- a life ------------------------------------------------------------------------------

    def test_a_second_life_in_the_same_process_is_like_the_first(
        self, given: list[Given], source: NumberedFrames
    ) -> None:
        self.must_be_same(given, asyncio.run(self.two_streams(source)))

    def test_stop_comes_in_time_while_frames_wait(self, source: NumberedFrames) -> None:
        threads, children = set(threading.enumerate()), set(psutil.Process().children(recursive=True))
        asyncio.run(self._stop_in_the_middle(source))
        left = [thread for thread in threading.enumerate() if thread not in threads and not thread.daemon]
        for thread in left:
            thread.join(self.patience_s)
        assert [thread.name for thread in left if thread.is_alive()] == [], "threads run on after stop()"
        started = set(psutil.Process().children(recursive=True)) - children
        alive = [child.pid for child in psutil.wait_procs(started, timeout=self.patience_s)[1]]
        assert alive == [], "processes run on after stop()"

    async def _stop_in_the_middle(self, source: NumberedFrames) -> None:
        run = PipelineRun(self.spec, self.patience_s)
        await run.initialize(self.spec.initial_params)
        putting = asyncio.create_task(run.feed((source.frame(number) for number in self.numbers(0)), FIRST))
        await asyncio.sleep(0)  # the first frame is on its way; nobody takes what comes of it
        putting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await putting
        await run.stop()

    def test_prepare_models_can_run_twice(self) -> None:
        try:
            asyncio.run(prepare(self.spec))
            asyncio.run(prepare(self.spec))
        except NotImplementedError:
            pytest.skip("this pipeline says that it has no models to prepare in this way")

    def test_it_runs_in_the_pipeline_process_and_leaves_nothing(self, source: NumberedFrames) -> None:
        asyncio.run(self._run_in_a_process(source))

    async def _run_in_a_process(self, source: NumberedFrames) -> None:
        async with process_run(self.spec, self.patience_s) as run:
            await run.feed((source.raw(number) for number in self.numbers(0)), self.expected)
            for params in self.live_params:
                assert not (await run.process.update_params(params)).reloading, f"it reloads for {params}"
            for params in self.bad_params:
                with pytest.raises(ParamsError):
                    await run.process.update_params(params)
            await run.feed((source.raw(number) for number in self.numbers(1)), self.expected)
        assert run.failures == []
        assert len(run.given) >= (2 * self.expected if self.expected is not None else 1)
        if self.exact and not self.live_params:
            for frame in run.given:
                assert (frame.pixels == source.raw(frame.seq).pixels).all(), f"picture {frame.seq} is another one"

    # ---- params ------------------------------------------------------------------------------

    def test_the_spec_survives_json(self) -> None:
        assert PipelineSpec.model_validate_json(self.spec.model_dump_json()) == self.spec

    def test_the_params_module_is_light(self) -> None:
        pipeline_module = self.spec.pipeline_cls.partition(":")[0]
        heavy = [*HEAVY_MODULES, "av", "cv2", "mediapipe", "onnxruntime", pipeline_module]
        result = subprocess.run(
            [sys.executable, "-c", _LIGHT, self.spec.model_dump_json(), *heavy],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=self.patience_s,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == [], f"{self.spec.params_cls} imports what a host must not load"

    def test_params_are_plain_data(self) -> None:
        params = params_class(self.spec, load_pipeline_class(self.spec.pipeline_cls))
        json.dumps(params.model_json_schema())
        for values in (self.spec.initial_params, *self.live_params, *self.reload_params):
            parsed = parse_params(params, values)
            assert parse_params(params, json.loads(parsed.model_dump_json())) == parsed

    def test_live_params_are_taken_without_a_reload(self, source: NumberedFrames) -> None:
        asyncio.run(self._take_live_params(source))

    async def _take_live_params(self, source: NumberedFrames) -> None:
        async with pipeline_run(self.spec, self.patience_s) as run:
            await self.feed(run, source, 0)
            for turn, params in enumerate(self.live_params, 1):
                assert await run.update(params) is None, f"it reloads for {params}"
                await self.feed(run, source, turn)

    def test_other_params_are_taken_by_a_reload(self, source: NumberedFrames) -> None:
        asyncio.run(self._take_reload_params(source))

    async def _take_reload_params(self, source: NumberedFrames) -> None:
        async with pipeline_run(self.spec, self.patience_s) as run:
            await self.feed(run, source, 0)
            for turn, params in enumerate(self.reload_params, 1):
                reloading = await run.update(params)
                assert reloading is not None, f"no reload for {params}"
                await asyncio.wait_for(reloading, self.patience_s)
                await self.feed(run, source, turn)

    def test_bad_params_are_refused_and_change_nothing(self, given: list[Given], source: NumberedFrames) -> None:
        self.must_be_same(given, asyncio.run(self.two_streams(source, self.bad_params)))

    def must_be_same(self, given: list[Given], again: list[Given]) -> None:
        """Compare two lives, as far as this pipeline promises."""
        if self.outputs_per_input is None:
            return
        assert [(output.time_s, output.request_id) for output in again] == [
            (output.time_s, output.request_id) for output in given
        ]
        if self.deterministic:
            other = [number for number, (a, b) in enumerate(zip(given, again, strict=True)) if not same(a, b)]
            assert other == [], "these outputs are other ones (deterministic = False if that is meant)"


def same(first: Given, second: Given) -> bool:
    """Whether two outputs show the same."""
    return first.picture.equal(second.picture)


async def _must_refuse(run: PipelineRun, bad: dict[str, Any]) -> None:
    try:
        taken = await run.update(bad)
        if taken is not None:
            await taken
    except Hangs:
        raise
    except Exception:
        return
    pytest.fail(f"these params must be refused: {bad}")

"""Frames through Scope pipelines: chunks, kinds of output, times, errors."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch

from scope_pipeline.registry import load_registry

from .driver import FRAME, Driver, levels

pytestmark = pytest.mark.quick


def register_growing() -> None:
    """Register a pipeline that takes two frames, then three, four, ...; all outputs of a call have its number."""
    registry = load_registry()
    from scope.core.pipelines.base_schema import BasePipelineConfig, ModeDefaults
    from scope.core.pipelines.interface import Pipeline, Requirements

    class GrowingConfig(BasePipelineConfig):  # type: ignore[misc]
        pipeline_id = "growing"
        modes: ClassVar[dict[str, Any]] = {"video": ModeDefaults(default=True)}

    class Growing(Pipeline):  # type: ignore[misc]
        calls = 0

        @classmethod
        def get_config_class(cls) -> Any:
            return GrowingConfig

        def prepare(self, **_: Any) -> Any:
            return Requirements(input_size=self.calls + 2)

        def __call__(self, video: Any, **_: Any) -> Any:
            self.calls += 1
            assert len(video) == self.calls + 1
            return {"video": torch.cat(video) * 0 + self.calls}

    registry.register("growing", Growing)


class TestChunks:
    async def test_one_frame_at_a_time_comes_back_at_once(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        await driver.put(3)
        outputs = await driver.take(3)
        assert levels(outputs) == [0, 1, 2]
        assert [output.timestamp for output in outputs] == [0, FRAME, 2 * FRAME]

    async def test_frames_are_gathered_to_the_size_that_prepare_asks_for(self, driver: Driver) -> None:
        await driver.start(pipeline="passthrough")
        await driver.put(3)
        assert driver.pipeline._call is None
        await driver.put(1)
        assert levels(await driver.take(4)) == [0, 1, 2, 3]

    async def test_the_end_of_a_stream_has_come_when_all_its_outputs_were_taken(self, driver: Driver) -> None:
        await driver.start(pipeline="bare")
        await driver.put(8)
        await driver.pipeline.flush()
        assert driver.pipeline._outputs.empty()
        assert len(await driver.take(90)) == 90
        assert await driver.nothing_waits()

    async def test_a_pipeline_may_ask_for_another_number_each_time(self, driver: Driver) -> None:
        register_growing()
        await driver.start(pipeline="growing")
        await driver.put(10)
        assert levels(await driver.take(9)) == [1, 1, 2, 2, 2, 3, 3, 3, 3]  # chunks of 2, 3 and 4
        await driver.pipeline.flush()
        assert levels(await driver.take(1)) == [4]

    async def test_a_full_chunk_keeps_values_times_and_side_data_of_each_frame(self, driver: Driver) -> None:
        await driver.start(pipeline="passthrough")
        await driver.put(8)
        outputs = await driver.take(8)
        assert levels(outputs) == list(range(8))
        assert [output.timestamp for output in outputs] == [index * FRAME for index in range(8)]
        assert [output.frame.side_data.input for output in outputs] == list(range(8))
        assert {output.request_id for output in outputs} == {"stream"}
        assert outputs[0].log_timestamps == {"frame_init": 1.0}

    async def test_what_is_left_at_the_end_of_a_stream_gives_as_many_outputs(self, driver: Driver) -> None:
        await driver.start(pipeline="passthrough")
        await driver.put(6)
        await driver.pipeline.flush()
        assert levels(await driver.take(6)) == list(range(6))
        assert await driver.nothing_waits()

    async def test_frames_of_a_stream_that_is_over_do_not_get_into_the_next(self, driver: Driver) -> None:
        await driver.start(pipeline="passthrough")
        await driver.put(3, "old")
        await driver.put(4, "new")
        outputs = await driver.take(4)
        assert levels(outputs) == [3, 4, 5, 6]
        assert {output.request_id for output in outputs} == {"new"}
        assert await driver.nothing_waits()

    async def test_text_mode_makes_nine_pictures_and_then_twelve_of_each_input(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await driver.put(2)
        outputs = await driver.take(21)
        assert levels(outputs)[9:] == [17 * index for index in range(12)]
        assert await driver.nothing_waits()
        calls = sys.modules["scope.core.pipelines.waves.pipeline"].instances[-1].calls
        assert all("video" not in call for call in calls)

    async def test_video_mode_gathers_twelve_inputs_for_each_call(self, driver: Driver) -> None:
        await driver.start(pipeline="waves", input_mode="video")
        await driver.put(24)
        outputs = await driver.take(9 + 12)
        calls = sys.modules["scope.core.pipelines.waves.pipeline"].instances[-1].calls
        assert [len(call["video"]) for call in calls] == [12, 12]
        times = [output.timestamp for output in outputs]
        assert times[0] == 0
        assert times[9:] == [index * FRAME for index in range(12, 24)]


class TestOutputs:
    async def test_a_bare_tensor_and_forty_five_of_four_are_spread_over_the_time_of_the_four(
        self, driver: Driver
    ) -> None:
        await driver.start(pipeline="bare")
        await driver.put(8)
        outputs = await driver.take(90)
        times = [output.timestamp for output in outputs]
        steps = {later - earlier for earlier, later in pairwise(times)}
        assert max(steps) - min(steps) <= 1
        assert times[0] == 0
        assert times[45] == 4 * FRAME

    @pytest.mark.usefixtures("weights")
    async def test_uint8_becomes_floats_in_0_to_1(self, driver: Driver) -> None:
        await driver.start(pipeline="echo-files")
        await driver.put(1)
        (output,) = await driver.take(1)
        assert output.tensor.dtype == torch.float32
        assert output.tensor.shape == (1, 64, 64, 3)
        assert levels([output]) == [200]

    async def test_an_exception_of_the_pipeline_is_raised_in_its_place_and_the_next_chunk_works(
        self, driver: Driver
    ) -> None:
        await driver.start(pipeline="bare")
        for level in (13, 13, 13, 13, 5, 5, 5, 5):
            await driver.pipeline.put_video_frame(driver.frame(level), "stream")
        with pytest.raises(RuntimeError, match="thirteen"):
            await driver.take(1)
        assert levels(await driver.take(45)) == [5] * 45


class TestOverlap:
    async def test_the_next_chunk_is_gathered_while_one_is_worked_on(self, driver: Driver) -> None:
        await driver.start(pipeline="passthrough")
        await driver.put(7)  # returns although no output has been taken, and the first chunk may still be worked on
        assert levels(await driver.take(4)) == [0, 1, 2, 3]

"""The pipeline that changes nothing: the contract in each of its ways to behave, and its failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noop_pipeline.params import NoopParams
from noop_pipeline.pipeline import Noop, NoopFailure
from runner.live.pipelines import PipelineSpec
from runner.testing import NumberedFrames, PipelineContract

pytestmark = pytest.mark.quick


def spec(**params: Any) -> PipelineSpec:
    return PipelineSpec(
        name="noop",
        pipeline_cls="noop_pipeline.pipeline:Noop",
        params_cls="noop_pipeline.params:NoopParams",
        initial_params={"width": 64, "height": 64, **params},
    )


class TestPassThrough(PipelineContract):
    spec = spec()
    exact = True
    live_params = ({"width": 64, "height": 64, "delay_ms": 1.0, "jitter_ms": 1.0}, {"width": 64, "height": 64})
    bad_params = ({"batch": 0}, {"delay_ms": "long"}, {"fail_update": True})


class TestSlowBatchesOfSeveral(PipelineContract):
    spec = spec(batch=4, outputs_per_input=3, delay_ms=5, jitter_ms=5)
    exact = True
    outputs_per_input = 3


async def outputs(frames: int, **params: Any) -> tuple[list[int], list[str]]:
    """Numbers of the frames that come back, and the failures."""
    source, pipeline, failures = NumberedFrames(64, 64), Noop(), []
    await pipeline.initialize(**params)
    for number in range(frames):
        try:
            await pipeline.put_video_frame(source.frame(number), "r")
        except NoopFailure as failure:
            failures.append(str(failure))
    await pipeline.flush()
    came = [await pipeline.get_processed_video_frame() for _ in range(frames - len(failures))]
    return [(output.timestamp - source.pts(0)) // source.interval for output in came], failures


class TestFailures:
    def test_every_third_input_fails_and_the_others_come(self) -> None:
        numbers, failures = asyncio.run(outputs(7, fail_every=3))
        assert numbers == [0, 1, 3, 4, 6]
        assert failures == [f"fails at frame {number}, as fail_every asks for" for number in (3, 6)]

    def test_a_start_fails(self) -> None:
        with pytest.raises(NoopFailure, match="fail_initialize"):
            asyncio.run(Noop().initialize(fail_initialize=True))

    def test_what_is_less_than_a_batch_comes_at_the_end(self) -> None:
        assert asyncio.run(outputs(5, batch=4))[0] == [0, 1, 2, 3, 4]

    def test_params_may_be_small_pictures(self) -> None:
        assert NoopParams(width=64, height=128).get_output_resolution() == (64, 128)

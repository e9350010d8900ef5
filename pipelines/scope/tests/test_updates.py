"""Params that change while a pipeline runs: live ones, those that load it anew, and the cache."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ParamsError
from scope_pipeline.errors import ModelsMissing, UnknownScopePipeline

from .driver import SIZE, Driver, levels

pytestmark = pytest.mark.quick


async def update(driver: Driver, **params: Any) -> bool:
    """Apply params, and wait for the reload if there is one; whether there was."""
    task = await driver.pipeline.update_params(**{**SIZE, **params})
    if task is not None:
        await asyncio.wait_for(task, 60)
    return task is not None


def in_force(driver: Driver) -> dict[str, Any]:
    params = driver.pipeline.params_in_force()
    assert params is not None
    return params.model_dump(mode="json")


def double(name: str) -> Any:
    """A module of a pipeline of the double."""
    return sys.modules[f"scope.core.pipelines.{name}.pipeline"]


class TestLive:
    async def test_a_parameter_of_a_running_pipeline_changes_without_a_reload(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        assert not await update(driver, pipeline="gray", strength=0.25)
        assert in_force(driver)["strength"] == 0.25
        assert double("gray").open_pipelines == ["luma"]

    async def test_prompts_go_to_scope_as_a_weighted_list(self, driver: Driver) -> None:
        await driver.start(pipeline="waves", prompts="a fox")
        await driver.put(1)
        await update(driver, pipeline="waves", prompts=["a bear", {"text": "a bee", "weight": 20}])
        await driver.put(1)
        await driver.pipeline.flush()
        first, second = (call["prompts"] for call in double("waves").instances[-1].calls)
        assert first == [{"text": "a fox", "weight": 100.0}]
        assert second == [{"text": "a bear", "weight": 100.0}, {"text": "a bee", "weight": 20.0}]

    async def test_refused_params_change_nothing(self, driver: Driver) -> None:
        await driver.start(pipeline="gray", strength=0.5)
        with pytest.raises(ParamsError, match="strength"):
            await update(driver, pipeline="gray", strength=5)
        with pytest.raises(UnknownScopePipeline):
            await update(driver, pipeline="grey-scale")
        assert in_force(driver)["strength"] == 0.5
        await driver.put(1)
        assert levels(await driver.take(1)) == [0]

    async def test_denoising_steps_have_the_name_that_a_running_pipeline_reads(self, driver: Driver) -> None:
        await driver.start(pipeline="waves", denoising_steps=[900, 100])
        await driver.put(1)
        await driver.pipeline.flush()
        assert double("waves").instances[-1].calls[0]["denoising_step_list"] == [900, 100]

    async def test_pictures_to_begin_with_are_given_to_one_call_only(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await update(driver, pipeline="waves", images=["a.png"], transition={"num_steps": 2})
        await driver.put(2)
        await driver.pipeline.flush()
        first, second = double("waves").instances[-1].calls
        assert (first["images"], first["transition"]) == (["a.png"], {"num_steps": 2})
        assert not {"images", "transition"} & second.keys()


class TestCache:
    async def caches(self, driver: Driver) -> list[bool]:
        await driver.pipeline.flush()
        return [call["init_cache"] for call in double("waves").instances[-1].calls]

    async def test_it_is_made_anew_on_the_first_call_only(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await driver.put(3)
        assert await self.caches(driver) == [True, False, False]

    async def test_other_prompts_keep_it_as_in_scope(self, driver: Driver) -> None:
        await driver.start(pipeline="waves", prompts="a fox")
        await driver.put(1)
        await update(driver, pipeline="waves", prompts="a bear")
        await driver.put(1)
        assert await self.caches(driver) == [True, False]

    async def test_reset_cache_makes_it_anew_once_and_goes_off_by_itself(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await driver.put(1)
        await update(driver, pipeline="waves", reset_cache=True)
        assert in_force(driver)["reset_cache"] is False
        await driver.put(2)
        assert await self.caches(driver) == [True, True, False]

    async def test_another_mode_makes_it_anew_and_asks_for_other_input(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await driver.put(1)
        assert not await update(driver, pipeline="waves", input_mode="video")
        await driver.put(12)
        assert await self.caches(driver) == [True, True]
        assert len(double("waves").instances[-1].calls[1]["video"]) == 12

    async def test_another_size_is_another_pipeline_that_begins_with_it(self, driver: Driver) -> None:
        await driver.start(pipeline="waves")
        await driver.put(1)
        assert await update(driver, pipeline="waves", width=96, height=64)
        await driver.put(1)
        assert await self.caches(driver) == [True]
        assert double("waves").instances[-1].size == (64, 96)


class TestReload:
    async def test_a_load_parameter_makes_another_pipeline_and_ends_the_old_one(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        assert await update(driver, pipeline="gray", method="mean")
        assert double("gray").open_pipelines == ["mean"]
        assert in_force(driver)["method"] == "mean"
        await driver.put(1)
        assert levels(await driver.take(1)) == [0]

    async def test_another_pipeline_takes_over_with_its_own_form(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        assert await update(driver, pipeline="passthrough")
        assert double("gray").open_pipelines == []
        assert type(driver.pipeline.params_in_force()).model_json_schema()["title"] == "Passthrough"
        await driver.put(4)
        assert levels(await driver.take(4)) == [0, 1, 2, 3]

    async def test_the_old_one_works_until_the_new_one_is_there(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        task = await driver.pipeline.update_params(**SIZE, pipeline="passthrough")
        await driver.put(1)
        assert levels(await driver.take(1)) == [0]
        assert task is not None
        await asyncio.wait_for(task, 60)

    async def test_a_failed_reload_goes_on_with_the_old_one_and_is_told(
        self, driver: Driver, caplog: pytest.LogCaptureFixture
    ) -> None:
        await driver.start(pipeline="gray", strength=0.5)
        assert await update(driver, pipeline="waves", base_seed=666)
        told = next(record for record in caplog.records if getattr(record, "report_error", False))
        assert "weights do not fit; the pipeline goes on as it was" in told.getMessage()
        assert (in_force(driver)["pipeline"], in_force(driver)["strength"]) == ("gray", 0.5)
        await driver.put(1)
        assert levels(await driver.take(1)) == [0]

    async def test_missing_weights_are_refused_before_anything_is_loaded(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        with pytest.raises(ModelsMissing, match="echo-files"):
            await update(driver, pipeline="echo-files")
        assert in_force(driver)["pipeline"] == "gray"

    @pytest.mark.usefixtures("weights")
    async def test_where_memory_has_room_the_old_one_is_still_there(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        assert await update(driver, pipeline="echo-files")
        assert driver.pipeline._running._node.beside == ["luma"]  # type: ignore[union-attr]


@pytest.mark.usefixtures("weights")
class TestNoRoom:
    @pytest.fixture(autouse=True)
    def huge(self, scope: Path, weights: None) -> None:  # noqa: ARG002  # which are there first
        """Weights of 4 TiB, of which the disk holds none."""
        (scope / "echo" / "tables" / "huge.bin").touch()
        os.truncate(scope / "echo" / "tables" / "huge.bin", 4 << 40)

    async def test_the_old_one_is_ended_first(self, driver: Driver) -> None:
        await driver.start(pipeline="gray")
        task = await driver.pipeline.update_params(**SIZE, pipeline="echo-files")
        assert task is not None
        await asyncio.wait_for(task, 60)
        assert driver.pipeline._running._node.beside == []  # type: ignore[union-attr]

    async def test_if_the_new_one_fails_the_old_one_is_loaded_again(self, driver: Driver, scope: Path) -> None:
        (scope / "echo" / "weights.bin").write_text("torn")
        await driver.start(pipeline="gray", method="mean")
        assert await update(driver, pipeline="echo-files")
        assert in_force(driver)["method"] == "mean"
        assert double("gray").open_pipelines == ["mean"]
        await driver.put(1)
        assert levels(await driver.take(1)) == [0]

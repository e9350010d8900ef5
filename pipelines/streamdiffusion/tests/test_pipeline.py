"""The pipeline as the runner uses it: frames, updates, reloads, and what happens when they fail."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from runner.live.trickle import VideoFrame
from streamdiffusion_pipeline.errors import ModelError
from streamdiffusion_pipeline.pipeline import StreamDiffusion

from .conftest import TinyModels


@asynccontextmanager
async def running(**params: Any) -> AsyncIterator[StreamDiffusion]:
    pipeline = StreamDiffusion()
    await pipeline.initialize(**params)
    yield pipeline
    await pipeline.stop()


async def put(pipeline: StreamDiffusion, pictures: list[torch.Tensor], first: int = 0, request: str = "a") -> None:
    for number, picture in enumerate(pictures, first):
        await pipeline.put_video_frame(VideoFrame(picture, 3000 * number, Fraction(1, 90_000)), request)


def given(pipeline: StreamDiffusion) -> list[tuple[int, str, torch.Tensor]]:
    """What has come out: (number of the input, request, picture)."""
    outputs = [pipeline._outputs.get_nowait() for _ in range(pipeline._outputs.qsize())]
    return [(output.timestamp // 3000, output.request_id, output.tensor) for output in outputs]


class TestFrames:
    @pytest.mark.quick
    async def test_outputs_have_the_times_of_the_inputs_that_they_show(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        async with running(**models.params()) as pipeline:
            await put(pipeline, pictures)
            assert [number for number, _, _ in given(pipeline)] == list(range(8))
            await pipeline.flush()
            assert [number for number, _, _ in given(pipeline)] == [8, 9]

    async def test_another_request_begins_anew(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        async with running(**models.params()) as pipeline:
            await put(pipeline, pictures[:4])
            await put(pipeline, pictures[:4], 100, "b")
            numbers = [(number, request) for number, request, _ in given(pipeline)]
            assert numbers == [(0, "a"), (1, "a"), (100, "b"), (101, "b")]

    async def test_the_event_loop_turns_while_the_model_works(
        self, models: TinyModels, pictures: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(**models.params()) as pipeline:
            painter, turned, waited = pipeline._serving(), threading.Event(), []
            paint = painter.paint

            def paint_later(*arguments: Any) -> Any:
                waited.append(turned.wait(60))  # in vain if the loop waits for this
                return paint(*arguments)

            monkeypatch.setattr(painter, "paint", paint_later)
            putting = asyncio.create_task(put(pipeline, pictures[:1]))
            for _ in range(3):
                await asyncio.sleep(0)
            turned.set()
            await putting
            assert waited == [True]

    async def test_a_frame_that_fails_does_not_shift_the_times_of_the_next(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        async with running(**models.params()) as pipeline:
            await put(pipeline, pictures[:4])
            with pytest.raises(RuntimeError):
                await put(pipeline, [torch.zeros(1, 64, 64, 2)], 4)
            await put(pipeline, pictures[5:], 5)
            assert [number for number, _, _ in given(pipeline)] == [0, 1, 5, 6, 7]


class TestUpdates:
    async def test_live_params_need_no_task(self, models: TinyModels) -> None:
        async with running(**models.params()) as pipeline:
            assert await pipeline.update_params(**models.params(prompt="a red fox")) is None
            assert pipeline._serving().params.prompt == "a red fox"

    async def test_the_same_params_change_nothing(self, models: TinyModels) -> None:
        async with running(**models.params()) as pipeline:
            painter = pipeline._serving()
            assert await pipeline.update_params(**models.params()) is None
            assert pipeline._serving() is painter

    @pytest.mark.parametrize(
        "change", [{"t_index_list": [70]}, {"prompt": []}, {"colour": "red"}, {"guidance_scale": "much"}]
    )
    async def test_params_that_are_refused_leave_the_old_ones(self, change: dict[str, Any], models: TinyModels) -> None:
        async with running(**models.params()) as pipeline:
            with pytest.raises(ValidationError):
                await pipeline.update_params(**models.params(**change))
            assert pipeline._serving().params.prompt == "flowers"

    async def test_frames_go_on_while_params_change(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        async with running(**models.params()) as pipeline:
            changes = [models.params(prompt=f"fox {number}", seed=number) for number in range(3)]
            putting = asyncio.create_task(put(pipeline, pictures))
            for change in changes:
                await pipeline.update_params(**change)
            await putting
            await pipeline.flush()
            assert [number for number, _, _ in given(pipeline)] == list(range(10))


class TestReloads:
    async def test_another_model_is_loaded_while_the_old_one_goes_on(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        async with running(**models.params()) as pipeline:
            task = await pipeline.update_params(**models.params(model_id=str(models.other)))
            assert task is not None
            number = 0
            while not task.done():  # the old one serves
                await put(pipeline, [pictures[number % 10]], number)
                number += 1
            await task
            await put(pipeline, pictures[:4], number)
            await pipeline.flush()
            numbers = [out for out, _, _ in given(pipeline)]
            assert numbers == list(range(number + 4))
            assert pipeline._serving().params.model_id == str(models.other)

    @pytest.mark.quick
    async def test_another_size_is_a_reload(self, models: TinyModels) -> None:
        async with running(**models.params()) as pipeline:
            task = await pipeline.update_params(**models.params(width=128))
            assert task is not None
            await task
            await put(pipeline, [torch.rand(1, 64, 128, 3)] * 3)
            assert given(pipeline)[0][2].shape == (1, 64, 128, 3)

    async def test_a_model_that_is_not_there_is_refused_before_anything_is_loaded(self, models: TinyModels) -> None:
        async with running(**models.params()) as pipeline:
            for name in ("/no/such/model", "nobody/nothing", str(models.vae)):
                with pytest.raises(ModelError):
                    await pipeline.update_params(**models.params(model_id=name))
            assert pipeline._serving().params.model_id == str(models.sd)

    async def test_a_model_that_does_not_load_leaves_the_old_one_as_it_was(
        self, models: TinyModels, pictures: list[torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken = tmp_path / "broken"
        shutil.copytree(models.sd, broken)
        (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
        async with running(**models.params(vae_id=str(models.vae))) as pipeline:
            await put(pipeline, pictures)
            await pipeline.flush()
            before = given(pipeline)
            task = await pipeline.update_params(**models.params(model_id=str(broken), vae_id=str(models.vae)))
            assert task is not None
            with caplog.at_level(logging.ERROR):
                await task
            [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert "the ones before stay in force" in record.message
            assert str(broken) in record.message
            assert record.report_error  # type: ignore[attr-defined]
            assert pipeline.params_in_force().model_id == str(models.sd)
            await put(pipeline, pictures)
            await pipeline.flush()
            after = given(pipeline)
            assert all(torch.equal(a, b) for (_, _, a), (_, _, b) in zip(before, after, strict=True))

    async def test_a_start_with_a_model_that_is_not_there_fails_with_the_reason(self) -> None:
        pipeline = StreamDiffusion()
        with pytest.raises(ModelError, match="there is no folder /no/such/model"):
            await pipeline.initialize(model_id="/no/such/model")
        await pipeline.stop()

    async def test_the_ip_adapters_picture_changes_live(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        red, blue = (_picture(colour) for colour in ("red", "blue"))
        adapter = {
            "enabled": True,
            "ipadapter_model_path": str(models.ip_adapter / "ip_adapter.safetensors"),
            "image_encoder_path": str(models.ip_adapter / "image_encoder"),
        }
        common = models.params(ip_adapter=adapter, t_index_list=[32], vae_id=str(models.vae))
        async with running(**common, ip_adapter_style_image_url=red) as pipeline:
            await put(pipeline, pictures[:1])
            assert await pipeline.update_params(**common, ip_adapter_style_image_url=blue) is None
            await put(pipeline, pictures[:1], 1)
            with pytest.raises(ValueError, match="no picture"):
                await pipeline.update_params(**common, ip_adapter_style_image_url="aaaa")
            await put(pipeline, pictures[:1], 2)
            by_red, by_blue, still_blue = (picture for _, _, picture in given(pipeline))
            assert not torch.equal(by_red, by_blue)
            assert torch.equal(by_blue, still_blue)


def _picture(colour: str) -> str:
    import base64
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()

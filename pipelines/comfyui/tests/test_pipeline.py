"""Pictures through workflows: exact, in order, by both transports; new workflows and values while they run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_pipeline import pipeline as pipeline_module
from comfyui_pipeline.errors import ExecutionError, TransportError, WorkflowError
from comfyui_pipeline.pipeline import ComfyUI
from runner.errors import ParamsError

from .running_double import RunningDouble
from .workflows import INVERT, chain, frame, node, picture, running_pipeline, through

pytestmark = pytest.mark.quick

PICTURES = [picture(number) for number in range(8)]


@pytest.fixture(autouse=True)
def _server(double: RunningDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", double.url)


class TestSharedMemory:
    async def test_pictures_come_back_bit_by_bit_and_in_order(self) -> None:
        async with running_pipeline(prompt=INVERT) as pipeline:
            assert pipeline._transport is not None
            assert pipeline._transport.name == "shared_memory"
            outputs = await through(pipeline, PICTURES)
        assert [output.timestamp for output in outputs] == list(range(8))
        assert {output.request_id for output in outputs} == {"request"}
        for given, output in zip(PICTURES, outputs, strict=True):
            assert torch.equal(output.tensor, 1.0 - given)

    async def test_values_between_the_256_steps_pass_too(self) -> None:
        fine = torch.rand(1, 64, 64, 3)
        async with running_pipeline() as pipeline:
            (output,) = await through(pipeline, [fine])
        assert torch.equal(output.tensor, fine)

    async def test_equal_pictures_are_worked_on_each_time(self) -> None:
        async with running_pipeline(prompt=INVERT) as pipeline:
            outputs = await through(pipeline, [PICTURES[0]] * 3)
        assert all(torch.equal(output.tensor, 1.0 - PICTURES[0]) for output in outputs)

    @pytest.mark.parametrize("in_flight", [1, 2, 4])
    async def test_so_many_prompts_are_under_way_and_no_more(self, in_flight: int) -> None:
        async with running_pipeline(prompt=INVERT, prompts_in_flight=in_flight) as pipeline:
            for number in range(in_flight):
                await asyncio.wait_for(pipeline.put_video_frame(frame(PICTURES[number], number), "r"), 60)
            one_more = asyncio.create_task(pipeline.put_video_frame(frame(PICTURES[7], 7), "r"))
            for number in range(in_flight):
                assert pipeline._in_flight.qsize() + number == in_flight
                assert not one_more.done()
                if number == 0:
                    break
            outputs = [await pipeline.get_processed_video_frame() for _ in range(in_flight + 1)]
            await one_more
        assert [output.timestamp for output in outputs] == [*range(in_flight), 7]

    async def test_a_result_of_another_size_has_room_where_params_say_so(self) -> None:
        larger = chain(node("ImageScale", upscale_method="nearest-exact", width=128, height=96, crop="disabled"))
        async with running_pipeline(prompt=larger, output_width=128, output_height=96) as pipeline:
            (output,) = await through(pipeline, [PICTURES[0]])
        assert output.tensor.shape == (1, 96, 128, 3)

    async def test_a_result_that_has_no_room_is_told_before_the_first_picture(self) -> None:
        larger = chain(node("ImageScale", upscale_method="nearest-exact", width=128, height=128, crop="disabled"))
        with pytest.raises(ExecutionError, match=r"128x128 .* set output_width and output_height"):
            await ComfyUI().initialize(width=64, height=64, prompt=larger)

    async def test_a_batch_of_results_is_told(self) -> None:
        with pytest.raises(ExecutionError, match="makes 2 pictures of one"):
            await ComfyUI().initialize(width=64, height=64, prompt=chain(node("Twice")))

    async def test_a_picture_that_is_larger_than_params_say_is_told(self) -> None:
        async with running_pipeline() as pipeline:
            with pytest.raises(TransportError, match=r"128x128 came, larger than .* width and height say"):
                await pipeline.put_video_frame(frame(picture(0, (128, 128))), "r")
            (output,) = await through(pipeline, [PICTURES[0]])
            assert torch.equal(output.tensor, PICTURES[0])

    async def test_the_end_of_a_stream_waits_for_what_is_under_way(self) -> None:
        async with running_pipeline() as pipeline:
            await pipeline.put_video_frame(frame(PICTURES[0]), "r")
            flushing = asyncio.create_task(pipeline.flush())
            await asyncio.sleep(0)
            assert not flushing.done()
            await pipeline.get_processed_video_frame()
            await asyncio.wait_for(flushing, 60)


class TestUpload:
    async def test_pictures_come_back_to_one_step_and_in_order(self) -> None:
        async with running_pipeline(prompt=INVERT, transport="upload") as pipeline:
            outputs = await through(pipeline, PICTURES)
        assert [output.timestamp for output in outputs] == list(range(8))
        for given, output in zip(PICTURES, outputs, strict=True):
            assert (output.tensor - (1 - given)).abs().max() <= 1.01 / 255

    async def test_previews_of_samplers_are_not_taken_for_results(self) -> None:
        async with running_pipeline(prompt=chain(node("Previews")), transport="upload") as pipeline:
            outputs = await through(pipeline, PICTURES[:3])
        for given, output in zip(PICTURES, outputs, strict=False):
            assert (output.tensor - given).abs().max() <= 1.01 / 255

    async def test_a_batch_of_results_is_told(self) -> None:
        with pytest.raises(TransportError, match="gave 2 pictures for one"):
            await ComfyUI().initialize(width=64, height=64, prompt=chain(node("Twice")), transport="upload")


class TestWorkflows:
    @pytest.mark.parametrize(
        ("first", "last"),
        [
            ("LoadTensor", "SaveTensor"),
            ("PrimaryInputLoadImage", "PreviewImage"),
            ("LoadImage", "SaveImage"),
            ("LiveFrameIn", "LiveFrameOut"),
            ("LoadImage", "SaveImageWebsocket"),
        ],
    )
    @pytest.mark.parametrize("transport", ["shared_memory", "upload"])
    async def test_all_kinds_of_ends_are_rewritten(self, first: str, last: str, transport: str) -> None:
        prompt = chain(node("ImageInvert"), first=first, last=last)
        prompt["1"]["inputs"] = {"image": "sampled_frame_2.jpg", "upload": "image"}
        async with running_pipeline(prompt=prompt, transport=transport) as pipeline:
            (output,) = await through(pipeline, [PICTURES[0]])
        assert (output.tensor - (1 - PICTURES[0])).abs().max() <= 1.01 / 255

    async def test_a_workflow_comes_as_text_too_and_in_a_list(self) -> None:
        for params in ({"prompt": json.dumps(INVERT)}, {"prompts": [INVERT]}, {"prompts": json.dumps(INVERT)}):
            async with running_pipeline(**params) as pipeline:
                (output,) = await through(pipeline, [PICTURES[0]])
            assert torch.equal(output.tensor, 1 - PICTURES[0])

    async def test_missing_nodes_and_models_are_all_named_with_what_to_install(self) -> None:
        prompt = chain(node("DepthAnythingTensorrt", "Depth", precision="fp16"))
        prompt["7"] = node("CheckpointLoaderSimple", ckpt_name="dreamshaper.safetensors")
        with pytest.raises(WorkflowError) as raised:
            await ComfyUI().initialize(width=64, height=64, prompt=prompt)
        nodes, models = raised.value.problems
        assert "no node class 'DepthAnythingTensorrt' (node 2)" in nodes
        assert "Install Missing Custom Nodes" in nodes
        assert "node 7 (CheckpointLoaderSimple): model 'dreamshaper.safetensors' is missing" in models
        assert "models/checkpoints (there: sd_turbo.safetensors)" in models

    async def test_what_only_the_server_sees_is_told_in_its_words(self) -> None:
        prompt = chain(node("ImageInvert"), first="LoadTensor")
        prompt["3"] = node("LoadImage", image="gone.png")
        prompt["4"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["3", 0]}}
        prompt["9"] = {"class_type": "SaveTensor", "inputs": {"images": ["2", 0]}}
        del prompt["9"]
        prompt["4"]["class_type"] = "SaveTensor"
        with pytest.raises(WorkflowError, match=r"node 3 \(LoadImage\): Custom validation failed .* gone.png"):
            await ComfyUI().initialize(width=64, height=64, prompt=prompt)

    async def test_a_node_that_fails_at_once_is_told_at_the_start(self) -> None:
        with pytest.raises(ExecutionError, match=r"node 2 \(Raise\) failed: RuntimeError: no such device"):
            await ComfyUI().initialize(width=64, height=64, prompt=chain(node("Raise", message="no such device")))


class TestLiveUpdates:
    BRIGHT = chain(node("Brightness", "Light", factor=1.0, channel="all", negative=False, note=""))

    async def test_values_by_path_and_by_title_are_in_force_with_the_next_picture(self) -> None:
        async with running_pipeline(prompt=self.BRIGHT) as pipeline:
            for inputs, expected in [
                ({"2.factor": 0.5}, lambda given: given * 0.5),
                ({"Light.factor": 0.25, "Light.negative": True}, lambda given: 1 - given * 0.25),
                ({}, lambda given: given),
            ]:
                await pipeline.update_params(width=64, height=64, prompt=self.BRIGHT, inputs=inputs)
                (output,) = await through(pipeline, [PICTURES[0]])
                assert torch.equal(output.tensor, expected(PICTURES[0]))

    @pytest.mark.parametrize(
        ("inputs", "reason"),
        [
            ({"2.factor": 3.0}, r"node 2 'Light' \(Brightness\): input 'factor' is 3.0, the most is 2.0"),
            ({"2.factor": "much"}, "'much', not a number"),
            ({"2.channel": "blue"}, r"'blue', which is not to be had \(there: all, red\)"),
            ({"2.negative": 1}, "not true or false"),
            ({"2.facto": 1.0}, r"has no '2.facto'; is it '2.factor'\?"),
            ({"2.image": 1.0}, r"cannot be set, it is linked to node 1"),
            ({"Light": 1.0}, "several values: say 2.factor or 2.channel or 2.negative or 2.note"),
        ],
    )
    async def test_values_that_cannot_be_are_refused_and_the_old_ones_stay(
        self, inputs: dict[str, Any], reason: str
    ) -> None:
        async with running_pipeline(prompt=self.BRIGHT, inputs={"2.factor": 0.5}) as pipeline:
            with pytest.raises(WorkflowError, match=reason):
                await pipeline.update_params(width=64, height=64, prompt=self.BRIGHT, inputs=inputs)
            (output,) = await through(pipeline, [PICTURES[0]])
            assert torch.equal(output.tensor, PICTURES[0] * 0.5)

    async def test_a_new_workflow_takes_over_between_two_pictures(self) -> None:
        async with running_pipeline() as pipeline:
            feeding = asyncio.create_task(through(pipeline, PICTURES))
            assert await pipeline.update_params(width=64, height=64, prompt=INVERT) is None
            outputs = await feeding
            kinds = [torch.equal(output.tensor, given) for output, given in zip(outputs, PICTURES, strict=True)]
            inverted = [torch.equal(output.tensor, 1 - given) for output, given in zip(outputs, PICTURES, strict=True)]
            assert kinds == sorted(kinds, reverse=True)
            assert inverted == [not kind for kind in kinds]
            (output,) = await through(pipeline, PICTURES[:1])
            assert torch.equal(output.tensor, 1 - PICTURES[0])

    @pytest.mark.parametrize(
        ("prompt", "kind"),
        [
            (chain(node("NoSuchNode")), WorkflowError),
            (chain(node("Raise", message="never")), ExecutionError),
            (chain(node("ImageInvert"), first="ImageInvert"), WorkflowError),
        ],
    )
    async def test_a_workflow_that_is_refused_leaves_the_old_one(self, prompt: Any, kind: type[Exception]) -> None:
        async with running_pipeline(prompt=INVERT) as pipeline:
            with pytest.raises(kind):
                await pipeline.update_params(width=64, height=64, prompt=prompt)
            (output,) = await through(pipeline, [PICTURES[0]])
            assert torch.equal(output.tensor, 1 - PICTURES[0])

    async def test_a_workflow_that_loads_for_long_is_a_reload(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "QUICK_TRIAL_S", 0.1)
        loaded = tmp_path / "loaded"
        slow = chain(node("Gate", file=str(loaded), above=0.4, hangs=False))
        async with running_pipeline(prompt=INVERT, frame_timeout_s=0.1) as pipeline:
            loading = await pipeline.update_params(width=64, height=64, prompt=slow, frame_timeout_s=60)
            assert loading is not None
            with pytest.raises(ParamsError, match="another workflow is loading"):
                await pipeline.update_params(width=64, height=64)
            waiting = asyncio.create_task(through(pipeline, [PICTURES[0]]))
            await asyncio.sleep(0.3)  # more than a picture may take: it waits behind the models, and is not lost
            loaded.touch()
            assert torch.equal((await waiting)[0].tensor, 1 - PICTURES[0])
            await loading
            assert torch.equal((await through(pipeline, [PICTURES[0]]))[0].tensor, PICTURES[0])

    async def test_a_workflow_that_fails_after_long_leaves_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(pipeline_module, "QUICK_TRIAL_S", 0.1)
        loaded = tmp_path / "loaded"
        slow = chain(node("Gate", file=str(loaded), above=0.4, hangs=False), node("RaiseAbove", most=0.1))
        async with running_pipeline(prompt=INVERT) as pipeline:
            loading = await pipeline.update_params(width=64, height=64, prompt=slow)
            assert loading is not None
            loaded.touch()
            await loading
            assert "the one before goes on: node 3 (RaiseAbove) failed: RuntimeError: too bright" in caplog.text
            assert pipeline.params_in_force().prompt == INVERT
            (output,) = await through(pipeline, [PICTURES[0]])
            assert torch.equal(output.tensor, 1 - PICTURES[0])

    async def test_another_size_gets_other_memory(self) -> None:
        async with running_pipeline(prompt=INVERT) as pipeline:
            before = pipeline._transport
            await pipeline.put_video_frame(frame(PICTURES[0]), "r")
            await pipeline.update_params(width=128, height=64, prompt=INVERT, prompts_in_flight=1)
            assert pipeline._transport is not before
            wide = picture(1, (128, 64))
            await pipeline.put_video_frame(frame(wide), "r")
            for sent in (PICTURES[0], wide):
                assert torch.equal((await pipeline.get_processed_video_frame()).tensor, 1 - sent)

    async def test_another_server_is_for_the_next_start(self) -> None:
        async with running_pipeline() as pipeline:
            with pytest.raises(ParamsError, match="next start"):
                await pipeline.update_params(width=64, height=64, server_url="http://127.0.0.1:1")

"""LoRA, ControlNet, IP-Adapter, image processors, accelerations: as far as a CPU shows them."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from streamdiffusion_pipeline import lora
from streamdiffusion_pipeline.acceleration import Acceleration
from streamdiffusion_pipeline.errors import ModelError
from streamdiffusion_pipeline.image_processor import canny, soft_edge
from streamdiffusion_pipeline.painter import Painter
from streamdiffusion_pipeline.params import StreamDiffusionParams
from streamdiffusion_pipeline.style_image import load_image

from .conftest import TinyModels


def load(models: TinyModels, image: Image.Image | None = None, **params: Any) -> Painter[int]:
    return Painter.load(StreamDiffusionParams(**models.params(vae_id=str(models.vae), **params)), image)


def paint(painter: Painter[int], pictures: list[torch.Tensor]) -> list[torch.Tensor]:
    painted = [picture for ticket, frame in enumerate(pictures) for picture, _ in painter.paint(frame, ticket)]
    return painted + [picture for picture, _ in painter.drain()]


def differ(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[int]:
    return [number for number, (a, b) in enumerate(zip(first, second, strict=True)) if not a.allclose(b, atol=1e-5)]


class TestLora:
    def test_it_changes_the_pictures_by_its_weight(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        plain = paint(load(models), pictures[:3])
        full = paint(load(models, lora_dict={str(models.lora): 1.0}), pictures[:3])
        none = paint(load(models, lora_dict={str(models.lora): 0.0}), pictures[:3])
        assert differ(plain, full) == [0, 1, 2]
        assert differ(plain, none) == []

    def test_the_lcm_lora_is_for_models_that_are_made_for_many_steps(self) -> None:
        def named(family: Any, **params: Any) -> dict[str, float]:
            return lora.loras(StreamDiffusionParams(**params), family)

        assert named("sd15", model_id="Lykon/dreamshaper-8") == {"latent-consistency/lcm-lora-sdv1-5": 1.0}
        assert named("sdxl", model_id="someone/xl") == {"latent-consistency/lcm-lora-sdxl": 1.0}
        assert named("sd21", model_id="stabilityai/sd-turbo") == {}
        assert named("sd15", model_id="someone/sd15", use_lcm_lora=False, lora_dict={"a/b": 0.5}) == {"a/b": 0.5}

    def test_one_that_is_not_there_is_named(self, models: TinyModels) -> None:
        with pytest.raises(ModelError, match="/no/such/lora"):
            load(models, lora_dict={"/no/such/lora": 1.0})


class TestControlNet:
    def controlnet(self, models: TinyModels, **config: Any) -> dict[str, Any]:
        return {"controlnets": [{"model_id": str(models.controlnet), "preprocessor": "canny", **config}]}

    def test_it_steers_and_its_scale_changes_live(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        plain = paint(load(models), pictures[:4])
        painter = load(models, **self.controlnet(models))
        assert differ(plain, paint(painter, pictures[:4])) == [0, 1, 2, 3]
        common = models.params(vae_id=str(models.vae))
        off = StreamDiffusionParams(**common, **self.controlnet(models, conditioning_scale=0.0))
        assert painter.can_take(off)
        painter.update(off, None)
        assert differ(plain, paint(painter, pictures[:4])) == []
        other = StreamDiffusionParams(**common, **self.controlnet(models, preprocessor="soft_edge"))
        assert not painter.can_take(other)

    def test_each_frame_keeps_its_control_picture_through_all_steps(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        control = self.controlnet(models, preprocessor="passthrough")
        batched = paint(load(models, **control), pictures)
        one_by_one = paint(load(models, use_denoising_batch=False, **control), pictures)
        assert all(a.allclose(b, atol=1e-4) for a, b in zip(batched, one_by_one, strict=True))

    def test_guidance_can_be_limited_to_a_part_of_the_schedule(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        plain = paint(load(models), pictures[:3])
        late = load(models, **self.controlnet(models, control_guidance_start=0.9))
        assert differ(plain, paint(late, pictures[:3])) == []  # the last step is at 32 of 50
        begun = load(models, **self.controlnet(models, control_guidance_end=0.3))
        assert differ(plain, paint(begun, pictures[:3])) == [0, 1, 2]

    def test_it_works_with_guidance_by_the_negative_prompt(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        for cfg_type in ("full", "initialize"):
            painter = load(models, guidance_scale=1.5, cfg_type=cfg_type, **self.controlnet(models))
            assert len(paint(painter, pictures[:4])) == 4

    def test_one_whose_preprocessor_is_not_there_is_not_loaded(self, models: TinyModels) -> None:
        config = {"model_id": "nobody/has-this", "preprocessor": "depth_tensorrt"}
        assert load(models, controlnets=[config])._model.controlnets == ()

    def test_a_folder_that_is_none_is_named(self, models: TinyModels) -> None:
        with pytest.raises(ModelError, match=str(models.cache)):
            load(models, controlnets=[{"model_id": str(models.cache)}])


class TestIPAdapter:
    @pytest.fixture(scope="class")
    def adapter(self, models: TinyModels) -> dict[str, Any]:
        return {
            "enabled": True,
            "ipadapter_model_path": str(models.ip_adapter / "ip_adapter.safetensors"),
            "image_encoder_path": str(models.ip_adapter / "image_encoder"),
        }

    def test_the_picture_matters_and_scale_and_switch_are_live(
        self, models: TinyModels, adapter: dict[str, Any], pictures: list[torch.Tensor]
    ) -> None:
        red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
        plain = paint(load(models), pictures[:3])
        painter = load(models, red, ip_adapter=adapter)
        by_red = paint(painter, pictures[:3])
        assert differ(plain, by_red) == [0, 1, 2]
        common = models.params(vae_id=str(models.vae))
        for change, image, before in (({}, blue, by_red), ({"scale": 0.3}, None, by_red)):
            params = StreamDiffusionParams(**common, ip_adapter={**adapter, **change})
            assert painter.can_take(params)
            painter.update(params, image)
            assert differ(before, paint(painter, pictures[:3])) == [0, 1, 2]
        off = StreamDiffusionParams(**common, ip_adapter={**adapter, "enabled": False})
        assert painter.can_take(off)
        painter.update(off, None)
        assert differ(plain, paint(painter, pictures[:3])) == []

    def test_it_works_with_guidance_by_the_negative_prompt(
        self, models: TinyModels, adapter: dict[str, Any], pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, Image.new("RGB", (9, 9)), ip_adapter=adapter, guidance_scale=1.5, cfg_type="full")
        assert len(paint(painter, pictures[:4])) == 4

    def test_a_model_without_a_known_adapter_needs_its_place(self, models: TinyModels) -> None:
        with pytest.raises(ModelError, match="ipadapter_model_path"):
            load(models, ip_adapter={"enabled": True})


class TestStyleImage:
    def png(self) -> str:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 3), "red").save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    @pytest.mark.quick
    async def test_base64_and_data_uris_are_pictures(self) -> None:
        for source in (self.png(), f"data:image/png;base64,{self.png()}"):
            image = await load_image(source)
            assert (image.mode, image.size) == ("RGB", (4, 3))

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("not base64!", "no http"),
            ("data:text/html;base64,AAAA", "must begin with data:image"),
            (base64.b64encode(b"hello").decode(), "no picture"),
            ("http://127.0.0.1:9/a.png", "no public address"),
            ("http://[::1]:9/a.png", "no public address"),
            ("http://localhost:9/a.png", "no public address"),
            ("http://169.254.169.254/latest", "no public address"),
        ],
    )
    async def test_what_is_none_is_refused_with_the_reason(self, source: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            await load_image(source)

    @pytest.mark.quick
    async def test_a_host_that_is_named_may_be_local_and_redirects_are_followed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from aiohttp import web
        from aiohttp.test_utils import TestServer

        async def picture(_: web.Request) -> web.Response:
            return web.Response(body=base64.b64decode(self.png()))

        async def elsewhere(_: web.Request) -> web.Response:
            raise web.HTTPFound("/a.png")

        async def inside(_: web.Request) -> web.Response:
            raise web.HTTPFound("http://127.0.0.2:1/secret")

        app = web.Application()
        app.add_routes([web.get("/a.png", picture), web.get("/b.png", elsewhere), web.get("/c.png", inside)])
        monkeypatch.setenv("STYLE_IMAGE_HOSTS", "127.0.0.1")
        async with TestServer(app, host="127.0.0.1") as server:
            for path in ("/a.png", "/b.png"):
                assert (await load_image(str(server.make_url(path)))).size == (4, 3)
            with pytest.raises(ValueError, match=r"127\.0\.0\.2, which is no public address"):
                await load_image(str(server.make_url("/c.png")))
            with pytest.raises(ValueError, match="404"):
                await load_image(str(server.make_url("/none.png")))


class TestImageProcessors:
    def square(self) -> torch.Tensor:
        image = torch.zeros(1, 3, 32, 32)
        image[..., 8:24, 8:24] = 1
        return image

    @pytest.mark.parametrize("processor", [canny, soft_edge])
    def test_edges_are_where_the_brightness_changes(self, processor: Any) -> None:
        edges = processor(self.square(), None, {})
        assert edges.shape == (1, 3, 32, 32)
        assert edges[..., 7:9, 12:20].max() > 0.9  # corners are the strongest
        assert edges[..., 12:20, 12:20].max() == 0
        assert edges[..., 0:4, :].max() == 0

    def test_thresholds_of_canny_decide_what_an_edge_is(self) -> None:
        faint = self.square() * 0.2
        assert canny(faint, None, {"low_threshold": 20, "high_threshold": 50}).max() == 1
        assert canny(faint, None, {"low_threshold": 400, "high_threshold": 800}).max() == 0

    def test_upscaled_outputs_are_larger(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        painter = load(models, t_index_list=[32], image_postprocessing={"processors": [{"type": "upscale"}]})
        assert paint(painter, pictures[:1])[0].shape == (1, 128, 128, 3)

    def test_feedback_mixes_the_picture_before_in(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        steps = {"processors": [{"type": "feedback", "params": {"feedback_strength": 1.0}}]}
        painter = load(models, skip_diffusion=True, image_preprocessing=steps)
        first, second = paint(painter, pictures[:2])
        assert torch.equal(first, pictures[0])
        assert torch.allclose(second, pictures[0], atol=1e-6)


class TestAcceleration:
    def test_without_a_gpu_each_setting_is_told_to_have_no_effect(self) -> None:
        asked = {
            "acceleration": "tensorrt",
            "torch_compile": True,
            "cuda_graphs": True,
            "channels_last": True,
            "dtype": "bfloat16",
        }
        plan = Acceleration.plan(StreamDiffusionParams(**asked), gpu=False)
        assert (plan.device, plan.dtype, plan.backend, plan.channels_last) == ("cpu", "float32", None, False)
        [notice] = plan.notices
        assert all(name in notice for name in asked)

    def test_without_a_wish_nothing_is_told(self) -> None:
        assert Acceleration.plan(StreamDiffusionParams(), gpu=False).notices == ()

    @pytest.mark.parametrize(
        ("params", "dtype", "backend", "mode", "notices"),
        [
            ({}, "float16", None, None, 0),
            ({"dtype": "bfloat16", "torch_compile": True}, "bfloat16", "inductor", None, 0),
            ({"cuda_graphs": True}, "float16", "inductor", "reduce-overhead", 0),
            ({"acceleration": "tensorrt"}, "float16", None, None, 1),  # torch-tensorrt is not installed here
            ({"acceleration": "xformers"}, "float16", None, None, 1),
        ],
    )
    def test_what_would_be_done_on_a_gpu(
        self, params: dict[str, Any], dtype: str, backend: str | None, mode: str | None, notices: int
    ) -> None:
        plan = Acceleration.plan(StreamDiffusionParams(**params), gpu=True)
        assert (plan.dtype, plan.backend, plan.mode, len(plan.notices)) == (dtype, backend, mode, notices)

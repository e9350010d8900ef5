"""What is painted: latency, the two ways to denoise, model families, what each parameter does to the pictures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from streamdiffusion_pipeline.painter import Painter
from streamdiffusion_pipeline.params import StreamDiffusionParams

from .conftest import TinyModels

pytestmark = pytest.mark.quick


def load(models: TinyModels, **params: Any) -> Painter[int]:
    return Painter.load(StreamDiffusionParams(**models.params(**params)))


def paint(painter: Painter[int], pictures: list[torch.Tensor]) -> list[tuple[torch.Tensor, int]]:
    return [painted for ticket, picture in enumerate(pictures) for painted in painter.paint(picture, ticket)]


class TestLatency:
    @pytest.mark.parametrize("indices", [[32], [20, 32], [12, 20, 32], [5, 12, 20, 32]])
    def test_a_frame_comes_out_with_its_ticket_n_minus_1_frames_later(
        self, indices: list[int], models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, t_index_list=indices)
        latency = len(indices) - 1
        for number, picture in enumerate(pictures):
            tickets = [ticket for _, ticket in painter.paint(picture, number)]
            assert tickets == ([number - latency] if number >= latency else [])
        assert [ticket for _, ticket in painter.drain()] == list(range(len(pictures)))[len(pictures) - latency :]

    def test_a_change_of_one_input_shows_in_its_own_output_and_no_other(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, use_tiny_vae=True, vae_id=str(models.vae))
        first = paint(painter, pictures) + painter.drain()
        changed = [*pictures[:4], 1 - pictures[4], *pictures[5:]]
        second = paint(painter, changed) + painter.drain()
        different = [a[1] for a, b in zip(first, second, strict=True) if not torch.allclose(a[0], b[0], atol=1e-5)]
        assert different == [4]

    def test_frames_in_flight_are_painted_as_if_others_had_followed(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        params = {"vae_id": str(models.vae), "guidance_scale": 1.4}
        whole = paint(load(models, **params), pictures)
        short = load(models, **params)
        painted = paint(short, pictures[:5]) + short.drain()
        for (expected, _), (picture, ticket) in zip(whole, painted, strict=False):
            assert torch.allclose(picture, expected, atol=1e-5), ticket

    def test_fewer_frames_than_steps_come_out_too(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        painter = load(models, vae_id=str(models.vae))
        expected = paint(painter, pictures)[0][0]
        painter.reset()
        assert painter.paint(pictures[0], 0) == []
        [(picture, ticket)] = painter.drain()
        assert ticket == 0
        assert torch.allclose(picture, expected, atol=1e-5)


class TestOneByOne:
    @pytest.mark.parametrize("cfg_type", ["none", "self", "initialize", "full"])
    def test_without_the_batch_pictures_are_the_same_and_come_at_once(
        self, cfg_type: str, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        params = {"vae_id": str(models.vae), "guidance_scale": 1.4, "cfg_type": cfg_type}
        batched = load(models, **params)
        expected = paint(batched, pictures) + batched.drain()
        painted = paint(load(models, use_denoising_batch=False, **params), pictures)
        assert [ticket for _, ticket in painted] == list(range(len(pictures)))
        for (a, _), (b, ticket) in zip(expected, painted, strict=True):
            assert torch.allclose(a, b, atol=1e-4), ticket


class TestModels:
    @pytest.mark.parametrize("name", ["sd", "sdxl", "v_prediction"])
    @pytest.mark.parametrize("guidance", [{}, {"guidance_scale": 1.5, "cfg_type": "full"}])
    def test_each_family_paints_pictures_at_128(self, name: str, guidance: dict[str, Any], models: TinyModels) -> None:
        folder = str(getattr(models, name))
        painter = load(models, model_id=folder, width=128, height=64, t_index_list=[20, 32], **guidance)
        generator = torch.Generator().manual_seed(0)
        painted = paint(painter, [torch.rand(1, 64, 128, 3, generator=generator) for _ in range(3)])
        for picture, _ in painted:
            assert picture.shape == (1, 64, 128, 3)
            assert picture.dtype == torch.float32
            assert 0 <= picture.min() < picture.max() <= 1

    def test_a_v_model_is_denoised_to_what_it_was_noised_from(self, models: TinyModels) -> None:
        from streamdiffusion_pipeline.schedule import Schedule

        config = load(models, model_id=str(models.v_prediction))._model.scheduler_config
        schedule = Schedule.build(config, 50, [12, 32], torch.device("cpu"), torch.float32)
        generator = torch.Generator().manual_seed(0)
        x, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
        noised = schedule.alpha_sqrt * x + schedule.beta_sqrt * noise
        v = schedule.alpha_sqrt * noise - schedule.beta_sqrt * x
        assert torch.allclose(schedule.epsilon(v, noised, slice(0, 2)), noise, atol=1e-5)

    def test_schedules_longer_than_50_steps_work(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        painter = load(models, num_inference_steps=100, t_index_list=[24, 99])
        timesteps = painter._stream.recipe.schedule.timesteps.tolist()
        assert timesteps[0] > timesteps[1] > 0
        assert len(paint(painter, pictures)) == len(pictures) - 1

    def test_frames_of_another_size_are_scaled(self, models: TinyModels) -> None:
        painter = load(models, t_index_list=[32])
        [(picture, _)] = painter.paint(torch.rand(1, 100, 80, 3), 0)
        assert picture.shape == (1, 64, 64, 3)

    def test_the_same_seed_gives_the_same_pictures(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        first, second = (paint(load(models), pictures) for _ in range(2))
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))


# A change of each live parameter, and what it needs to matter.
FOX_AND_SEA = [("a red fox", 0.5), ("the sea at night", 0.5)]
LIVE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "prompt": ({}, {"prompt": "a red fox"}),
    "a list of prompts": ({}, {"prompt": FOX_AND_SEA}),
    "prompt weights": ({"prompt": FOX_AND_SEA}, {"prompt": [("a red fox", 0.9), ("the sea at night", 0.1)]}),
    "prompt_interpolation_method": ({"prompt": FOX_AND_SEA}, {"prompt_interpolation_method": "linear"}),
    "normalize_prompt_weights": (
        {"prompt": [("a red fox", 1.0), ("the sea", 1.0)]},
        {"normalize_prompt_weights": False},
    ),
    "negative_prompt": ({"guidance_scale": 2.0, "cfg_type": "full"}, {"negative_prompt": "a cat"}),
    "guidance_scale": ({}, {"guidance_scale": 2.0}),
    "cfg_type": ({"guidance_scale": 2.0}, {"cfg_type": "full"}),
    "delta": ({"guidance_scale": 2.0}, {"delta": 0.2}),
    "num_inference_steps": ({}, {"num_inference_steps": 40}),
    "t_index_list": ({}, {"t_index_list": [2, 10, 20]}),
    "length of t_index_list": ({}, {"t_index_list": [10]}),
    "seed": ({}, {"seed": 5}),
    "a list of seeds": ({}, {"seed": [(5, 0.5), (6, 0.5)]}),
    "seed_interpolation_method": ({"seed": [(5, 0.5), (6, 0.5)]}, {"seed_interpolation_method": "slerp"}),
    "normalize_seed_weights": ({"seed": [(5, 1.0), (6, 1.0)]}, {"normalize_seed_weights": False}),
    "do_add_noise": ({}, {"do_add_noise": False}),
    "skip_diffusion": ({}, {"skip_diffusion": True}),
    "image_preprocessing": ({}, {"image_preprocessing": {"processors": [{"type": "canny"}]}}),
    "image_postprocessing": ({}, {"image_postprocessing": {"processors": [{"type": "blur"}]}}),
}


class TestLiveUpdates:
    @pytest.fixture(scope="class")
    def painter(self, models: TinyModels) -> Painter[int]:
        return load(models, vae_id=str(models.vae))

    @pytest.mark.parametrize("name", LIVE)
    def test_a_change_shows_and_going_back_undoes_it(
        self, name: str, painter: Painter[int], models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        start, change = LIVE[name]
        common = models.params(vae_id=str(models.vae))
        before, after = (StreamDiffusionParams(**common | start | more) for more in ({}, change))
        painted = []
        for params in (before, after, before):
            assert painter.can_take(params)
            painter.update(params, None)
            painted.append([picture for picture, _ in paint(painter, pictures[:5]) + painter.drain()])
        for number in range(5):
            assert not torch.allclose(painted[0][number], painted[1][number], atol=1e-4), number
            assert torch.allclose(painted[0][number], painted[2][number], atol=1e-5), number

    def test_frames_in_flight_come_out_before_another_number_of_steps_is_in_force(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, vae_id=str(models.vae))
        expected = paint(painter, pictures)
        painter.reset()
        assert [ticket for _, ticket in paint(painter, pictures[:4])] == [0, 1]
        shorter = StreamDiffusionParams(**models.params(vae_id=str(models.vae), t_index_list=[32]))
        rest = painter.update(shorter, None)
        assert [ticket for _, ticket in rest] == [2, 3]
        assert torch.allclose(rest[0][0], expected[2][0], atol=1e-5)
        assert [ticket for _, ticket in painter.paint(pictures[4], 4)] == [4]

    def test_a_live_change_keeps_the_frames_in_flight(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        painter = load(models)
        paint(painter, pictures[:4])
        assert painter.update(StreamDiffusionParams(**models.params(prompt="a red fox")), None) == []
        assert [ticket for _, ticket in painter.paint(pictures[4], 4)] == [2]

    def test_an_update_that_fails_changes_nothing(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        painter = load(models, vae_id=str(models.vae))
        expected = paint(painter, pictures)
        painter.reset()
        wrong = {"processors": [{"type": "blur", "params": {"sigma": "much"}}]}
        params = models.params(vae_id=str(models.vae), prompt="a red fox", image_postprocessing=wrong)
        with pytest.raises(ValueError, match="sigma must be a number"):
            painter.update(StreamDiffusionParams(**params), None)
        assert painter.params.prompt == "flowers"
        for (a, _), (b, _) in zip(expected, paint(painter, pictures), strict=True):
            assert torch.equal(a, b)


class TestBlending:
    @pytest.mark.parametrize("method", ["linear", "slerp"])
    def test_all_the_weight_on_one_prompt_is_that_prompt(
        self, method: str, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, vae_id=str(models.vae), prompt="a red fox")
        expected = paint(painter, pictures[:4])
        blended = models.params(
            vae_id=str(models.vae),
            prompt=[("a red fox", 3.0), ("the sea", 0.0)],
            prompt_interpolation_method=method,
        )
        painter.reset()
        painter.update(StreamDiffusionParams(**blended), None)
        for (a, _), (b, _) in zip(expected, paint(painter, pictures[:4]), strict=True):
            assert torch.allclose(a, b, atol=1e-4)

    @pytest.mark.parametrize("method", ["linear", "slerp"])
    def test_noise_of_several_seeds_is_as_strong_as_that_of_one(self, method: Any) -> None:
        from streamdiffusion_pipeline.seeds import Noise

        shape = (2, 4, 32, 32)
        device = torch.device("cpu")
        noise = Noise.build([(1, 2.0), (2, 1.0), (3, 1.0)], method, shape, device, torch.float32, normalize=True)
        assert noise.latents.std() == pytest.approx(1.0, abs=0.05)

    def test_slerp_turns_and_keeps_the_length(self) -> None:
        from streamdiffusion_pipeline.interpolation import slerp

        half = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
        assert torch.allclose(half, torch.tensor([[0.5**0.5, 0.5**0.5]]))


class TestSimilarImageFilter:
    def test_an_input_like_the_one_before_shows_the_same_picture_again(
        self, models: TinyModels, pictures: list[torch.Tensor]
    ) -> None:
        painter = load(models, enable_similar_image_filter=True, similar_image_filter_max_skip_frame=2)
        still = [pictures[0]] * 9
        painted = paint(painter, still)
        assert [ticket for _, ticket in painted] == list(range(len(painted)))
        assert len(painted) == len(still) - 2
        same = [torch.equal(a[0], b[0]) for a, b in pairwise(painted)]
        assert same == [False, True, True, False, True, True]

    def test_inputs_that_differ_are_all_painted(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        plain = paint(load(models), pictures)
        filtered = paint(load(models, enable_similar_image_filter=True), pictures)
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(plain, filtered, strict=True))

    def test_a_threshold_of_one_skips_nothing(self, models: TinyModels, pictures: list[torch.Tensor]) -> None:
        params = {"enable_similar_image_filter": True, "similar_image_filter_threshold": 1.0}
        painted = paint(load(models, **params), [pictures[0]] * 5)
        assert not torch.equal(painted[0][0], painted[1][0])  # the encoder draws anew for each

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch

from ai_runner_samples.background_blur.params import BackgroundBlurParams
from ai_runner_samples.background_blur.pipeline import BackgroundBlur
from ai_runner_samples.cartoon.params import CartoonParams
from ai_runner_samples.cartoon.pipeline import Cartoon
from ai_runner_samples.edges.params import EdgesParams
from ai_runner_samples.edges.pipeline import Edges
from ai_runner_samples.face_privacy.params import FacePrivacyParams
from ai_runner_samples.face_privacy.pipeline import FacePrivacy
from ai_runner_samples.flow_trails.params import FlowTrailsParams
from ai_runner_samples.flow_trails.pipeline import FlowTrails
from ai_runner_samples.mediapipe_solution import INSTALL
from ai_runner_samples.posterize.params import PosterizeParams
from ai_runner_samples.posterize.pipeline import posterize
from runner.live.pipelines import BaseParams
from runner.live.pipelines.loader import load_pipeline_class
from runner.live.pipelines.transform import TransformPipeline, params_class_of
from runner.live.trickle.frame import VideoFrame

from .conftest import needs_mediapipe

Clip = Callable[..., list[torch.Tensor]]

PORTRAITS = ("background_blur", "face_privacy")  # they look for people, and need the extra
SAMPLES: dict[str, tuple[Any, type[BaseParams], str]] = {
    "background_blur": (
        BackgroundBlur,
        BackgroundBlurParams,
        "ai_runner_samples.background_blur.pipeline:BackgroundBlur",
    ),
    "cartoon": (Cartoon, CartoonParams, "ai_runner_samples.cartoon.pipeline:Cartoon"),
    "edges": (Edges, EdgesParams, "ai_runner_samples.edges.pipeline:Edges"),
    "face_privacy": (FacePrivacy, FacePrivacyParams, "ai_runner_samples.face_privacy.pipeline:FacePrivacy"),
    "flow_trails": (FlowTrails, FlowTrailsParams, "ai_runner_samples.flow_trails.pipeline:FlowTrails"),
    "posterize": (posterize, PosterizeParams, "ai_runner_samples.posterize.pipeline:posterize"),
}

# For each parameter a value that must show, in place of the default.
CHANGES: list[tuple[str, str, object]] = [
    ("background_blur", "background", "green"),
    ("background_blur", "blur_px", 60),
    ("background_blur", "dim", 0.9),
    ("background_blur", "certainty", 0.9),
    ("background_blur", "softness", 1.0),
    ("background_blur", "steadiness", 0.95),
    ("cartoon", "smoothing", 0),
    ("cartoon", "shades", 3),
    ("cartoon", "saturation", 0.0),
    ("cartoon", "outlines", False),
    ("cartoon", "ink", "red"),
    ("cartoon", "line_detail", 1.0),
    ("edges", "line_width", 5),
    ("edges", "strength", 1.0),
    ("edges", "threshold", 0.4),
    ("edges", "glow", 0.0),
    ("edges", "colours", "white"),
    ("edges", "paper", True),
    ("face_privacy", "cover", "black"),
    ("face_privacy", "coarseness", 1.0),
    ("face_privacy", "margin", 1.5),
    ("face_privacy", "shape", "box"),
    ("face_privacy", "certainty", 0.95),
    ("flow_trails", "persistence", 0.0),
    ("flow_trails", "sensitivity", 5.0),
    ("flow_trails", "threshold_px", 5.0),
    ("flow_trails", "colours", "fire"),
    ("flow_trails", "drift", False),
    ("flow_trails", "background", 1.0),
    ("posterize", "shades", 2),
    ("posterize", "contrast", 0.3),
    ("posterize", "negative", True),
]


def sample(name: str, *more: object) -> Any:
    """A parameter set that is skipped where the sample's extra is not installed."""
    return pytest.param(name, *more, marks=[needs_mediapipe if name in PORTRAITS else pytest.mark.quick])


def transform_of(name: str, params: BaseParams) -> Callable[[torch.Tensor, BaseParams], torch.Tensor]:
    """The sample's transform, made ready as the runner does it."""
    target, _, _ = SAMPLES[name]
    if not isinstance(target, type):
        return target  # type: ignore[no-any-return]
    instance: Any = target()
    if hasattr(instance, "on_ready"):
        instance.on_ready(params)
    return instance.transform  # type: ignore[no-any-return]


def run(name: str, frames: list[torch.Tensor], params: BaseParams) -> list[torch.Tensor]:
    transform = transform_of(name, params)
    with torch.inference_mode():
        return [transform(frame, params) for frame in frames]


def test_every_parameter_is_tried() -> None:
    inherited = set(BaseParams.model_fields)
    fields = {(name, field) for name, (_, cls, _) in SAMPLES.items() for field in set(cls.model_fields) - inherited}
    tried = {(name, field) for name, field, _ in CHANGES}
    assert fields == tried | {("face_privacy", "hold_frames")}  # that one has a test of its own


@pytest.mark.parametrize("name", [sample(name) for name in SAMPLES])
class TestEverySample:
    def test_gives_a_picture_of_the_same_form(self, name: str, clip: Clip) -> None:
        frames = clip("bunny", 4)
        for output in run(name, frames, SAMPLES[name][1]()):
            assert output.shape == (1, 512, 512, 3)
            assert output.dtype == torch.float32
            assert 0.0 <= float(output.min()) < float(output.max()) <= 1.0

    def test_leaves_its_input_alone(self, name: str, clip: Clip) -> None:
        frames = clip("shapes", 3)
        kept = [frame.clone() for frame in frames]
        run(name, frames, SAMPLES[name][1]())
        assert all(torch.equal(frame, before) for frame, before in zip(frames, kept, strict=True))

    def test_changes_no_picture_that_it_has_given_away(self, name: str, clip: Clip) -> None:
        params = SAMPLES[name][1]()
        transform = transform_of(name, params)
        given, copies = [], []
        for frame in clip("astronaut", 4):
            given.append(transform(frame, params))
            copies.append(given[-1].clone())
        assert all(torch.equal(output, copy) for output, copy in zip(given, copies, strict=True))

    def test_takes_another_size_in_the_middle_of_a_run(self, name: str, clip: Clip) -> None:
        params = SAMPLES[name][1]()
        small, wide = clip("bunny", 6, size=(384, 384)), clip("bunny", 6, size=(640, 448))
        after_change = run(name, small + wide, params)[len(small) :]
        assert [output.shape for output in after_change] == [(1, 448, 640, 3)] * 6
        # Nothing of the first size is left: the same as a run that began with the second.
        for changed, fresh in zip(after_change, run(name, wide, params), strict=True):
            torch.testing.assert_close(changed, fresh)

    def test_is_a_pipeline_for_the_runner(self, name: str, clip: Clip) -> None:
        target, params_class, path = SAMPLES[name]
        assert params_class_of(target) is params_class
        pipeline_class = load_pipeline_class(path)
        assert issubclass(pipeline_class, TransformPipeline)
        frames = clip("bunny", 2)

        async def stream() -> list[tuple[torch.Tensor, int]]:
            pipeline = pipeline_class()
            await pipeline.initialize(width=512, height=512)
            outputs = []
            for number, frame in enumerate(frames):
                await pipeline.put_video_frame(VideoFrame(frame, number * 3000, Fraction(1, 90_000)), "a request")
                output = await pipeline.get_processed_video_frame()
                outputs.append((output.tensor, output.timestamp))
            await pipeline.stop()
            return outputs

        expected = run(name, frames, params_class())
        outputs = asyncio.run(stream())
        assert [timestamp for _, timestamp in outputs] == [0, 3000]
        for (tensor, _), wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(tensor, wanted)


@pytest.mark.parametrize(("name", "field", "value"), [sample(*change) for change in CHANGES])
def test_a_parameter_changes_the_picture(name: str, field: str, value: object, clip: Clip) -> None:
    frames = clip("astronaut", 8) if name in PORTRAITS else clip("shapes", 8)
    params_class = SAMPLES[name][1]
    plain = run(name, frames, params_class())[-1]
    changed = run(name, frames, params_class.model_validate({field: value}))[-1]
    assert float((plain - changed).abs().mean()) > 0.001


@needs_mediapipe
class TestBackgroundBlur:
    def test_the_person_stays_and_the_background_goes(self, clip: Clip) -> None:
        frames = clip("astronaut", 3)
        output = run("background_blur", frames, BackgroundBlurParams(background="green", dim=0))[-1]
        change = (output - frames[-1]).abs().mean(dim=-1)[0]
        assert float(change[100:150, 195:235].mean()) < 0.02  # the face
        assert torch.allclose(output[0, 30, 300], torch.tensor([0.0, 177 / 255, 64 / 255]), atol=0.02)

    def test_where_nobody_is_everything_goes(self) -> None:
        output = run("background_blur", [torch.full((1, 512, 512, 3), 0.6)], BackgroundBlurParams(background="black"))[
            0
        ]
        assert float(output.mean()) < 0.05


@needs_mediapipe
class TestFacePrivacy:
    def test_a_face_is_hidden_and_the_rest_stays(self, clip: Clip) -> None:
        frame = clip("astronaut", 1)[0]
        output = run("face_privacy", [frame], FacePrivacyParams(cover="black", margin=0.0))[0]
        hidden = (output != frame).any(dim=-1)[0]
        assert 0.02 < float(hidden.float().mean()) < 0.1
        assert bool(hidden[100:150, 195:235].all())
        assert torch.equal(output[0][~hidden], frame[0][~hidden])

    def test_where_there_is_no_face_nothing_changes(self, clip: Clip) -> None:
        frames = clip("shapes", 2)
        assert torch.equal(run("face_privacy", frames, FacePrivacyParams())[-1], frames[-1])

    def test_a_face_that_is_lost_stays_hidden_for_a_while(self, clip: Clip) -> None:
        seen, dark = clip("astronaut", 1), torch.ones(1, 512, 512, 3)
        outputs = run("face_privacy", [*seen, *[dark] * 4], FacePrivacyParams(cover="black", hold_frames=3))
        assert [bool((output == 0).any()) for output in outputs[1:]] == [True, True, True, False]


@pytest.mark.parametrize("name", PORTRAITS)
def test_without_its_extra_a_sample_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(INSTALL)):
        transform_of(name, SAMPLES[name][1]())


class TestCartoon:
    def test_ink_has_its_colour(self, clip: Clip) -> None:
        frame = clip("astronaut", 1)
        red, blue = (run("cartoon", frame, CartoonParams(ink=ink))[0] for ink in ("red", "blue"))
        lines = (red != blue).any(dim=-1)
        assert 0.005 < float(lines.float().mean()) < 0.3
        assert torch.unique(red[lines], dim=0).shape == (1, 3)

    def test_grey_has_no_colour(self, clip: Clip) -> None:
        output = run("cartoon", clip("bunny", 1), CartoonParams(saturation=0, outlines=False))[0]
        assert torch.equal(output[..., 0], output[..., 2])


class TestFlowTrails:
    def test_what_stands_still_is_dark(self, clip: Clip) -> None:
        frame = clip("astronaut", 1)[0]
        outputs = run("flow_trails", [frame] * 4, FlowTrailsParams(background=0))
        assert max(float(output.max()) for output in outputs) < 0.02

    def test_trails_fade_when_motion_ends(self, clip: Clip) -> None:
        moving = clip("shapes", 10)
        outputs = run("flow_trails", moving + moving[-1:] * 20, FlowTrailsParams(background=0, persistence=0.8))
        assert float(outputs[9].mean()) > 10 * float(outputs[-1].mean())


class TestEdges:
    def test_a_flat_picture_has_no_edges(self) -> None:
        output = run("edges", [torch.full((1, 384, 384, 3), 0.5)], EdgesParams())[0]
        assert float(output.std()) < 1e-5

    def test_a_step_shines_where_it_is(self) -> None:
        frame = torch.zeros(1, 384, 384, 3)
        frame[:, :, 192:] = 1
        output = run("edges", [frame], EdgesParams(glow=0, colours="white", line_width=1))[0]
        assert float(output[0, 200, 191:193].min()) == 1.0
        assert float(output[0, 200, 100:190].max()) == 0.0


class TestPosterize:
    def test_it_has_as_many_shades_as_asked_for(self, clip: Clip) -> None:
        output = run("posterize", clip("bunny", 1), PosterizeParams(shades=5))[0]
        assert torch.unique(output).numel() == 5

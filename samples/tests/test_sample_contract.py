"""Every sample keeps the contract of the runner."""

from __future__ import annotations

from runner.live.pipelines import PipelineSpec
from runner.testing import PipelineContract

from .conftest import needs_mediapipe


def spec(name: str, pipeline: str, params: str) -> PipelineSpec:
    package = f"ai_runner_samples.{name}"
    return PipelineSpec(
        name=name, pipeline_cls=f"{package}.pipeline:{pipeline}", params_cls=f"{package}.params:{params}"
    )


class TestCartoon(PipelineContract):
    spec = spec("cartoon", "Cartoon", "CartoonParams")
    live_params = ({"shades": 3, "ink": "red"},)
    bad_params = ({"ink": "green"}, {"shades": 1})


class TestEdges(PipelineContract):
    spec = spec("edges", "Edges", "EdgesParams")
    live_params = ({"colours": "white", "paper": True},)
    bad_params = ({"line_width": "broad"},)


class TestFlowTrails(PipelineContract):
    spec = spec("flow_trails", "FlowTrails", "FlowTrailsParams")
    live_params = ({"drift": False, "persistence": 0.5},)
    bad_params = ({"persistence": 2},)


class TestPosterize(PipelineContract):
    spec = spec("posterize", "posterize", "PosterizeParams")
    live_params = ({"shades": 2, "negative": True},)
    bad_params = ({"shades": 0},)


@needs_mediapipe
class TestBackgroundBlur(PipelineContract):
    spec = spec("background_blur", "BackgroundBlur", "BackgroundBlurParams")
    live_params = ({"background": "grey", "blur_px": 4},)
    bad_params = ({"background": "pink"},)


@needs_mediapipe
class TestFacePrivacy(PipelineContract):
    spec = spec("face_privacy", "FacePrivacy", "FacePrivacyParams")
    live_params = ({"cover": "blur", "hold_frames": 0},)
    bad_params = ({"margin": -1},)

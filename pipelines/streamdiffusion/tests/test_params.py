"""Parameters: Livepeer's are accepted, wrong ones refused, and the module is light."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from streamdiffusion_pipeline.defaults import SUBVARIANTS, default_params
from streamdiffusion_pipeline.notices import Notices, notices
from streamdiffusion_pipeline.params import StreamDiffusionParams

pytestmark = pytest.mark.quick

# As the network's gateways send it, with everything that its runner knows.
LIVEPEER: dict[str, Any] = {
    "model_id": "stabilityai/sd-turbo",
    "prompt": "flowers",
    "prompt_interpolation_method": "slerp",
    "normalize_prompt_weights": True,
    "negative_prompt": "blurry, low quality, flat, 2d",
    "guidance_scale": 1.0,
    "delta": 0.7,
    "num_inference_steps": 50,
    "t_index_list": [12, 20, 32],
    "width": 512,
    "height": 512,
    "show_reloading_frame": True,
    "lora_dict": None,
    "use_lcm_lora": True,
    "lcm_lora_id": "latent-consistency/lcm-lora-sdv1-5",
    "acceleration": "tensorrt",
    "use_safety_checker": True,
    "safety_checker_threshold": 0.5,
    "use_denoising_batch": True,
    "do_add_noise": True,
    "skip_diffusion": False,
    "seed": [[789, 0.5], [790, 0.5]],
    "seed_interpolation_method": "linear",
    "normalize_seed_weights": True,
    "enable_similar_image_filter": False,
    "similar_image_filter_threshold": 0.98,
    "similar_image_filter_max_skip_frame": 10,
    "controlnets": [
        {
            "model_id": "thibaud/controlnet-sd21-openpose-diffusers",
            "conditioning_scale": 0.711,
            "preprocessor": "pose_tensorrt",
            "preprocessor_params": {},
            "enabled": True,
            "control_guidance_start": 0.0,
            "control_guidance_end": 1.0,
        },
        {
            "model_id": "thibaud/controlnet-sd21-canny-diffusers",
            "conditioning_scale": 0.2,
            "conditioning_channels": 3,
            "preprocessor": "canny",
            "preprocessor_params": {"low_threshold": 100, "high_threshold": 200},
        },
        {
            "model_id": "daydreamlive/TemporalNet2-stable-diffusion-2-1",
            "preprocessor": "temporal_net_tensorrt",
            "preprocessor_params": {"flow_strength": 0.4},
        },
    ],
    "ip_adapter": {"enabled": False, "type": "regular", "insightface_model_name": "buffalo_l", "weight_type": "linear"},
    "ip_adapter_style_image_url": "https://example.com/vortex.jpeg",
    "image_preprocessing": {"enabled": True, "processors": [{"type": "depth", "enabled": True, "params": {}}]},
    "image_postprocessing": {"processors": [{"type": "realesrgan_trt"}]},
    "latent_preprocessing": None,
    "latent_postprocessing": {"processors": [{"type": "latent_feedback", "params": {"feedback_strength": 0.2}}]},
    "cached_attention": {"enabled": True, "max_frames": 2, "interval": 3},
}


class TestLivepeersParams:
    def test_they_are_accepted_as_they_are(self) -> None:
        params = StreamDiffusionParams(**LIVEPEER)
        assert params.seeds() == [(789, 0.5), (790, 0.5)]
        assert StreamDiffusionParams(**json.loads(params.model_dump_json())) == params

    def test_what_has_no_effect_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        params = StreamDiffusionParams(**LIVEPEER)
        told = Notices()
        with caplog.at_level(logging.WARNING):
            told.log(params)
            told.log(params)
        said = [record.message for record in caplog.records]
        assert len(said) == len(set(said))
        for name in ("use_safety_checker", "cached_attention", "openpose", "TemporalNet2", "depth", "realesrgan_trt"):
            assert sum(name in text for text in said) == 1, name
        assert not any("canny" in text for text in said)

    def test_params_that_all_work_say_nothing(self) -> None:
        assert list(notices(StreamDiffusionParams())) == []

    @pytest.mark.parametrize("name", SUBVARIANTS)
    def test_each_subvariant_has_a_set_that_is_accepted(self, name: str) -> None:
        params = StreamDiffusionParams(**default_params({"SUBVARIANT": name.replace("_", "-")}))
        assert params.width == 512

    def test_own_params_go_on_top_of_the_set(self) -> None:
        given = default_params({"SUBVARIANT": "sdxl", "STREAMDIFFUSION_PARAMS": '{"prompt": "a fox"}'})
        assert (given["model_id"], given["prompt"]) == ("stabilityai/sdxl-turbo", "a fox")

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({"SUBVARIANT": "sd3"}, "there is no such set; there are sdturbo"),
            ({"STREAMDIFFUSION_PARAMS": "/no/such/file"}, "neither JSON nor a file"),
            ({"STREAMDIFFUSION_PARAMS": "{"}, "neither JSON nor a file"),
        ],
    )
    def test_variables_that_cannot_be_are_refused(self, environ: dict[str, str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            default_params(environ)


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"strength": 1}, "strength"),
            ({"width": 100}, "multiple of 64"),
            ({"width": 0}, "greater than or equal to 64"),
            ({"t_index_list": []}, "1 to 4 entries"),
            ({"t_index_list": [1, 2, 3, 4, 5]}, "1 to 4 entries"),
            ({"t_index_list": [30, 20]}, "must not decrease"),
            ({"t_index_list": [50]}, "50 is not in the schedule"),
            ({"t_index_list": [10], "num_inference_steps": 10}, "10 is not in the schedule"),
            ({"num_inference_steps": 101}, "less than or equal to 100"),
            ({"prompt": []}, "an empty list"),
            ({"prompt": [("a", 0.0)]}, "nor all 0"),
            ({"prompt": [("a", -1.0), ("b", 2.0)]}, "must not be negative"),
            ({"seed": [(1, float("nan"))]}, "must be finite"),
            ({"seed": -1}, "0 or more"),
            ({"controlnets": [{"model_id": "a/b"}, {"model_id": "a/b"}]}, "more than once"),
            ({"controlnets": [{"model_id": "xinsir/controlnet-canny-sdxl-1.0"}]}, "does not fit"),
            ({"controlnets": [{"model_id": "a/b", "preprocessor": "magic"}]}, "preprocessor"),
            ({"ip_adapter": {"enabled": True}}, "there is none for stabilityai/sd-turbo"),
            ({"cached_attention": {"max_frames": 5}}, "less than or equal to 4"),
            ({"acceleration": "warp"}, "acceleration"),
            ({"image_postprocessing": {"processors": [{"type": "upscale", "params": {"scale_factor": 9}}]}}, "1 to 4"),
        ],
    )
    def test_wrong_params_are_refused_with_the_reason(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            StreamDiffusionParams(**params)


class TestOutputSize:
    def test_an_upscale_makes_the_output_larger(self) -> None:
        steps = {"processors": [{"type": "upscale"}]}
        params = StreamDiffusionParams(width=64, height=128, image_postprocessing=steps)
        assert params.get_output_resolution() == (128, 256)


class TestImport:
    def test_the_params_module_loads_nothing_heavy(self) -> None:
        code = (
            "import sys, streamdiffusion_pipeline.params, streamdiffusion_pipeline.defaults\n"
            "print(*[name for name in ('torch', 'diffusers', 'transformers', 'numpy', 'cv2', 'PIL', 'aiohttp') "
            "if name in sys.modules])"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert result.stdout.strip() == ""

"""What can be set, and changed while a stream runs: the names and ranges of Livepeer's StreamDiffusionParams.

Wider than there: `model_id` and the ControlNets' are any hub id or folder, and pictures may be as small as 64 pixels.
Own: `cfg_type`, `use_tiny_vae`, `vae_id`, `dtype`, `torch_compile`, `cuda_graphs`, `channels_last`.
Light: imports neither torch nor diffusers.
"""

from __future__ import annotations

import math
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from runner.live.pipelines import BaseParams

from .family import CONTROLNET_FAMILIES, known_family

MAX_T_INDICES = 4
MAX_SDXL_CONTROLNETS = 3
DEFAULT_STYLE_IMAGE = "https://storage.googleapis.com/lp-ai-assets/ipadapter_style_imgs/textures/vortex.jpeg"

ImageProcessorName = Literal[
    "blur",
    "canny",
    "depth",
    "depth_tensorrt",
    "external",
    "feedback",
    "hed",
    "lineart",
    "mediapipe_pose",
    "mediapipe_segmentation",
    "openpose",
    "passthrough",
    "pose_tensorrt",
    "realesrgan_trt",
    "sharpen",
    "soft_edge",
    "standard_lineart",
    "temporal_net_tensorrt",
    "upscale",
]
LatentProcessorName = Literal["latent_feedback"]
ProcessorName = TypeVar("ProcessorName", bound=str)

WeightType = Literal[
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class SingleProcessorConfig(_Strict, Generic[ProcessorName]):
    """One step of image or latent processing; steps run in the order of the list."""

    type: ProcessorName
    enabled: bool = True
    params: dict[str, Any] = Field(default_factory=dict)


class ProcessingConfig(_Strict, Generic[ProcessorName]):
    """A list of processing steps."""

    enabled: bool = True
    processors: list[SingleProcessorConfig[ProcessorName]] = Field(default_factory=list)


class ControlNetConfig(_Strict):
    """One ControlNet. `conditioning_scale` changes live; anything else reloads."""

    model_id: str = Field(min_length=1, description="Hub id or folder of a diffusers ControlNetModel.")
    conditioning_scale: float = Field(default=1.0, description="Strength; 0 leaves its work out.")
    conditioning_channels: int | None = Field(
        default=None, ge=1, le=6, description="Channels of the control picture; 6 for TemporalNets, else 3."
    )
    preprocessor: ImageProcessorName = Field(
        default="passthrough", description="What makes the control picture out of the input."
    )
    preprocessor_params: dict[str, Any] = Field(
        default_factory=dict, description="For canny: low_threshold, high_threshold, 0 to 255."
    )
    enabled: bool = Field(default=True, description="One that is not enabled is not loaded.")
    control_guidance_start: float = Field(default=0.0, ge=0.0, le=1.0, description="Part of the schedule it begins at.")
    control_guidance_end: float = Field(default=1.0, ge=0.0, le=1.0, description="Part of the schedule it ends at.")


class IPAdapterConfig(_Strict):
    """A picture as prompt. `enabled`, `scale` and `weight_type` change live once it is loaded."""

    type: Literal["regular", "faceid"] = "regular"
    ipadapter_model_path: str | None = Field(
        default=None, description="Hub id or folder, and file in it: h94/IP-Adapter/models/ip-adapter_sd15.bin."
    )
    image_encoder_path: str | None = Field(
        default=None, description="Hub id or folder of the image encoder: h94/IP-Adapter/models/image_encoder."
    )
    insightface_model_name: Literal["buffalo_l"] | None = "buffalo_l"
    scale: float = Field(default=1.0, description="0: no influence, 1: normal, 2: strong.")
    weight_type: WeightType | None = "linear"
    enabled: bool = True


class CachedAttentionConfig(_Strict):
    """Attention to earlier frames (StreamV2V). Accepted, without effect."""

    enabled: bool = True
    max_frames: int = Field(default=1, ge=1, le=4)
    interval: int = Field(default=1, ge=1, le=1440)


class StreamDiffusionParams(BaseParams):
    """Parameters of the streamdiffusion pipeline."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    width: int = Field(default=512, ge=64, le=1024, multiple_of=64, description="Width of the pictures, in pixels.")
    height: int = Field(default=512, ge=64, le=1024, multiple_of=64, description="Height of the pictures, in pixels.")

    model_id: str = Field(
        default="stabilityai/sd-turbo",
        min_length=1,
        description="Hub id or folder of an SD 1.5, SD 2.1, SD-Turbo, SDXL or SDXL-Turbo model.",
    )

    prompt: str | list[tuple[str, float]] = Field(
        default="flowers", description="What to see: a text, or a list of (text, weight)."
    )
    prompt_interpolation_method: Literal["linear", "slerp"] = Field(
        default="slerp", description="How several prompts are blended."
    )
    normalize_prompt_weights: bool = Field(default=True, description="Scale the prompts' weights to a sum of 1.")
    negative_prompt: str = Field(
        default="blurry, low quality, flat, 2d",
        description="What not to see. Counts where guidance_scale is above 1 and cfg_type is full or initialize.",
    )
    guidance_scale: float = Field(default=1.0, description="How strictly the prompt is followed; 1 or less: unguided.")
    cfg_type: Literal["none", "full", "self", "initialize"] = Field(
        default="self",
        description="Where guidance above 1 comes from: the negative prompt at each step (full) or at the first "
        "(initialize), the frame's own residual noise (self), or nowhere.",
    )
    delta: float = Field(default=0.7, description="Weight of the residual noise in guidance of type self, initialize.")

    num_inference_steps: int = Field(
        default=50, ge=1, le=100, description="Length of the schedule that t_index_list points into."
    )
    t_index_list: list[int] = Field(
        default_factory=lambda: [12, 20, 32],
        description="Steps that each frame goes through, 1 to 4, not decreasing. Low: more is made up; high: more "
        "of the input stays. Each costs work, and all but the first a frame of latency.",
    )

    lora_dict: dict[str, float] | None = Field(default=None, description="LoRAs by hub id or path, and their weights.")
    use_lcm_lora: bool = Field(
        default=True, description="Few steps for models that are made for many (SD 1.5, SDXL); turbo models go without."
    )
    lcm_lora_id: str = Field(default="latent-consistency/lcm-lora-sdv1-5", description="Which LCM LoRA.")

    acceleration: Literal["none", "xformers", "tensorrt"] = Field(
        default="none", description="tensorrt: by torch-tensorrt, on a GPU. Says in the log what it could not do."
    )
    torch_compile: bool = Field(default=False, description="Compile UNet and decoder with torch.compile, on a GPU.")
    cuda_graphs: bool = Field(default=False, description="torch.compile in its mode with CUDA graphs, on a GPU.")
    channels_last: bool = Field(default=False, description="Memory layout that convolutions on a GPU like.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="auto: float16 on a GPU, float32 without."
    )
    use_tiny_vae: bool = Field(default=True, description="Code pictures with the small autoencoder TAESD.")
    vae_id: str | None = Field(default=None, description="Hub id or folder of the autoencoder; null: by the model.")

    use_safety_checker: bool = Field(default=True, description="Accepted, without effect.")
    safety_checker_threshold: float = Field(default=0.5, description="Accepted, without effect.")
    use_denoising_batch: bool = Field(
        default=True, description="All steps in one pass of the UNet; else one after another, without latency."
    )
    do_add_noise: bool = Field(default=True, description="New noise between the steps of a frame.")
    skip_diffusion: bool = Field(default=False, description="Leave the model out; image processing stays.")

    seed: int | list[tuple[int, float]] = Field(
        default=789, description="Of the noise: a number, or a list of (number, weight)."
    )
    seed_interpolation_method: Literal["linear", "slerp"] = Field(
        default="linear", description="How the noises of several seeds are blended."
    )
    normalize_seed_weights: bool = Field(
        default=True, description="Keep the strength of the noise whatever the weights."
    )

    enable_similar_image_filter: bool = Field(
        default=False, description="Show the picture before again for inputs that hardly changed."
    )
    similar_image_filter_threshold: float = Field(
        default=0.98, ge=0.0, le=1.0, description="Cosine similarity from which inputs may be skipped; 1: none."
    )
    similar_image_filter_max_skip_frame: int = Field(
        default=10, ge=0, description="How many inputs in a row may be skipped."
    )

    controlnets: list[ControlNetConfig] = Field(default_factory=list)
    ip_adapter: IPAdapterConfig = Field(default_factory=lambda: IPAdapterConfig(enabled=False))
    ip_adapter_style_image_url: str = Field(
        default=DEFAULT_STYLE_IMAGE, description="http(s) URL, data URI or base64 of the IP-Adapter's picture."
    )

    image_preprocessing: ProcessingConfig[ImageProcessorName] | None = None
    image_postprocessing: ProcessingConfig[ImageProcessorName] | None = None
    latent_preprocessing: ProcessingConfig[LatentProcessorName] | None = None
    latent_postprocessing: ProcessingConfig[LatentProcessorName] | None = None

    cached_attention: CachedAttentionConfig = Field(default_factory=lambda: CachedAttentionConfig(enabled=False))

    def get_output_resolution(self) -> tuple[int, int]:
        """(width, height) of the output: larger than the input where it is processed by ``upscale``."""
        factor = 1.0
        if self.image_postprocessing is not None and self.image_postprocessing.enabled:
            for step in self.image_postprocessing.processors:
                if step.enabled and step.type == "upscale":
                    factor *= float(step.params.get("scale_factor", 2.0))
        return int(self.width * factor), int(self.height * factor)

    def prompts(self) -> list[tuple[str, float]]:
        """The prompts as a weighted list."""
        return [(self.prompt, 1.0)] if isinstance(self.prompt, str) else list(self.prompt)

    def seeds(self) -> list[tuple[int, float]]:
        """The seeds as a weighted list."""
        return [(self.seed, 1.0)] if isinstance(self.seed, int) else list(self.seed)

    @model_validator(mode="after")
    def _check_t_index_list(self) -> Self:
        indices = self.t_index_list
        if not 1 <= len(indices) <= MAX_T_INDICES:
            raise ValueError(f"t_index_list must have 1 to {MAX_T_INDICES} entries, this one has {len(indices)}")
        for index in indices:
            # Livepeer's check lets num_inference_steps itself pass, which no schedule of that length has.
            if not 0 <= index < self.num_inference_steps:
                raise ValueError(
                    f"t_index_list: {index} is not in the schedule, whose {self.num_inference_steps} steps "
                    f"(num_inference_steps) are 0 to {self.num_inference_steps - 1}"
                )
        if sorted(indices) != indices:
            raise ValueError(f"t_index_list must not decrease: {indices}")
        return self

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        weighted = (
            ("prompt", [weight for _, weight in self.prompts()], self.normalize_prompt_weights),
            ("seed", [weight for _, weight in self.seeds()], self.normalize_seed_weights),
        )
        for name, weights, normalized in weighted:
            if not weights:
                raise ValueError(f"{name}: an empty list; give at least one entry")
            if not all(math.isfinite(weight) for weight in weights):
                raise ValueError(f"{name}: weights must be finite, these are {weights}")
            if normalized and (min(weights) < 0 or sum(weights) <= 0):
                raise ValueError(f"{name}: weights that are normalized must not be negative, nor all 0: {weights}")
        if min(seed for seed, _ in self.seeds()) < 0 or max(seed for seed, _ in self.seeds()) >= 2**63:
            raise ValueError("seed: must be 0 or more, and below 2**63")
        return self

    @model_validator(mode="after")
    def _check_controlnets(self) -> Self:
        ids = [config.model_id for config in self.controlnets]
        twice = sorted({model_id for model_id in ids if ids.count(model_id) > 1})
        if twice:
            raise ValueError(f"controlnets: {', '.join(twice)} more than once")
        family = known_family(self.model_id)
        if family is None:
            return self
        others = [model_id for model_id in ids if CONTROLNET_FAMILIES.get(model_id, family) != family]
        if others:
            raise ValueError(f"controlnets: {', '.join(others)} does not fit {self.model_id}, which is {family}")
        enabled = sum(config.enabled for config in self.controlnets)
        if family == "sdxl" and enabled > MAX_SDXL_CONTROLNETS:
            raise ValueError(f"controlnets: at most {MAX_SDXL_CONTROLNETS} enabled with SDXL, these are {enabled}")
        return self

    @model_validator(mode="after")
    def _check_upscale(self) -> Self:
        steps = self.image_postprocessing.processors if self.image_postprocessing is not None else []
        for step in steps:
            factor = step.params.get("scale_factor", 2.0)
            if step.type == "upscale" and not (isinstance(factor, (int, float)) and 1 <= factor <= 4):
                raise ValueError(f"image_postprocessing: scale_factor must be a number from 1 to 4, not {factor!r}")
        return self

    @model_validator(mode="after")
    def _check_ip_adapter(self) -> Self:
        if self.ip_adapter.enabled and known_family(self.model_id) == "sd21":
            raise ValueError(f"ip_adapter: there is none for {self.model_id}; set ip_adapter.enabled to false")
        return self

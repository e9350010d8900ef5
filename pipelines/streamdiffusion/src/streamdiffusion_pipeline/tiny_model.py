"""Tiny models with random weights, in the layout of real ones: for tests, and to try the plumbing without a download.

    python -m streamdiffusion_pipeline.tiny_model FOLDER

They are loaded by the same `from_pretrained` as real ones; what they paint is noise. Made in seconds, under 2 MB.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

WIDTH = 8  # channels of the outermost blocks
TEXT_WIDTH = 16
GROUPS = 4
TOKENS = 77  # length of a prompt, as real models have it
COMMIT = "0" * 40  # by which a hand-made hub cache calls its only snapshot
# Random decoders give pictures that hardly differ; this makes differences visible in the pixels.
DECODER_GAIN = 4.0


def write_tiny_model(
    folder: Path,
    family: Literal["sd", "sdxl"] = "sd",
    *,
    seed: int = 0,
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon",
) -> Path:
    """A diffusers folder of a Stable Diffusion (or SDXL) model, with random weights from `seed`.

    Returns:
        The folder, which is created.
    """
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        common: dict[str, Any] = {
            "unet": _unet(family),
            "vae": _vae(),
            "text_encoder": _text_encoder(projected=False),
            "tokenizer": _tokenizer(folder / "tokenizer"),
            "scheduler": EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction_type,
                steps_offset=1,
            ),
        }
        if family == "sd":
            nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
            pipeline = StableDiffusionPipeline(**common, **nothing)
        else:
            common["text_encoder_2"] = _text_encoder(projected=True)
            common["tokenizer_2"] = _tokenizer(folder / "tokenizer_2")
            pipeline = StableDiffusionXLPipeline(**common)
    pipeline.save_pretrained(folder)
    for name in ("tokenizer", "tokenizer_2") if family == "sdxl" else ("tokenizer",):
        _write_vocabulary(folder / name)
    return folder


def write_tiny_vae(folder: Path, *, seed: int = 1) -> Path:
    """A diffusers folder of an AutoencoderTiny with random weights."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _tiny_vae().save_pretrained(folder)
    return folder


def write_tiny_controlnet(folder: Path, model: Path, *, seed: int = 2) -> Path:
    """A ControlNet with random weights that fits the UNet of a tiny `model`."""
    import torch
    from diffusers import ControlNetModel, UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        # Pictures are eight times as large as latents: three halvings.
        controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
        for name, parameter in controlnet.named_parameters():
            if "controlnet_" in name:  # made as zeros, so that training begins without influence
                torch.nn.init.normal_(parameter, std=0.5)
        controlnet.save_pretrained(folder)
    return folder


def write_tiny_lora(folder: Path, model: Path, *, seed: int = 3) -> Path:
    """A LoRA with random weights that fits the UNet of a tiny `model`."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model_state_dict

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
    return folder


def write_tiny_ip_adapter(folder: Path, model: Path, *, seed: int = 4) -> Path:
    """An IP-Adapter, ``ip_adapter.safetensors``, and its ``image_encoder``, with random weights, for a tiny `model`."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = CLIPVisionConfig(
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
        CLIPVisionModelWithProjection(encoder).save_pretrained(folder / "image_encoder")
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        width = unet.config.cross_attention_dim
        tokens = 4
        weights = {
            "image_proj.proj.weight": torch.randn(tokens * width, TEXT_WIDTH),
            "image_proj.proj.bias": torch.randn(tokens * width),
            "image_proj.norm.weight": torch.ones(width),
            "image_proj.norm.bias": torch.zeros(width),
        }
        # Adapters number the attention layers of the UNet; every second one attends to the text.
        layers = [(name, layer) for name, layer in unet.named_modules() if name.endswith("attn2")]
        for number, (_, layer) in enumerate(sorted(layers, key=lambda pair: _order(pair[0]))):
            for kind in ("to_k_ip", "to_v_ip"):
                weights[f"ip_adapter.{2 * number + 1}.{kind}.weight"] = torch.randn(layer.inner_dim, width)
        save_file(weights, folder / "ip_adapter.safetensors")
    return folder


def _order(name: str) -> int:
    return ("down", "up", "mid").index(name.split("_")[0])


def write_hub_cache(cache: Path, repo_id: str, source: Path) -> Path:
    """A hub cache as huggingface_hub keeps it, in which `repo_id` is what lies in the folder `source`.

    Returns:
        The folder of the snapshot.
    """
    import shutil

    repo = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT
    shutil.copytree(source, snapshot, dirs_exist_ok=True)
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(COMMIT)
    return snapshot


def _unet(family: Literal["sd", "sdxl"]) -> UNet2DConditionModel:
    from diffusers import UNet2DConditionModel

    extra: dict[str, Any] = {}
    if family == "sdxl":
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": WIDTH,
            "projection_class_embeddings_input_dim": TEXT_WIDTH + 6 * WIDTH,
        }
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(WIDTH, 2 * WIDTH),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH if family == "sd" else 2 * TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
        **extra,
    )


def _vae() -> AutoencoderKL:
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(WIDTH,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        latent_channels=4,
        sample_size=64,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(DECODER_GAIN)
    return vae


def _tiny_vae() -> AutoencoderTiny:
    from diffusers import AutoencoderTiny

    channels = (WIDTH,) * 4
    return AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )


def _text_encoder(*, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=_vocabulary()["<|startoftext|>"],
        eos_token_id=_vocabulary()["<|endoftext|>"],
        pad_token_id=_vocabulary()["<|endoftext|>"],
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    _write_vocabulary(folder)
    return CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)


def _write_vocabulary(folder: Path) -> None:
    """The files of a CLIP tokenizer as transformers 4 wants them; 5 writes its own beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def _vocabulary() -> dict[str, int]:
    """Every byte, inside a word and at its end, and no merges: any text can be told apart, letter by letter."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    entries = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {entry: index for index, entry in enumerate(entries)}


def main() -> None:
    """Write a tiny model, and a tiny autoencoder in the folder ``tiny_vae`` inside it."""
    parser = argparse.ArgumentParser(description="Write a tiny model with random weights, to try things without one.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=("sd", "sdxl"), default="sd")
    arguments = parser.parse_args()
    write_tiny_model(arguments.folder, arguments.family)
    write_tiny_vae(arguments.folder / "tiny_vae")


if __name__ == "__main__":
    main()

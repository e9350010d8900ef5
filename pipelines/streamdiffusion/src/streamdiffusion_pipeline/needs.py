"""All repositories that a set of parameters needs."""

from __future__ import annotations

from collections.abc import Iterator

from . import controlnet, ip_adapter, lora
from .acceleration import Acceleration
from .errors import NotDownloadedError
from .family import known_family
from .model import family_of, model_index, model_repository, other_vae
from .params import StreamDiffusionParams
from .repository import Repository


def needs(params: StreamDiffusionParams) -> Iterator[Repository]:
    """Everything that is loaded for `params`, the model itself first.

    What belongs to the family of a model that is not known by name is found out in the model's folder: fetch each one
    before asking for the next.

    Raises:
        ModelError: a LoRA, or an IP-Adapter's file, is not there.
    """
    half = Acceleration.plan(params).half
    model = model_repository(params, half=half)
    yield model
    family = known_family(params.model_id)
    if family is None:
        folder = model.folder()
        model_index(folder)
        family = family_of(folder)
    vae = other_vae(params, family)
    if vae is not None:
        yield Repository(vae, half=half)
    for config in controlnet.usable(params.controlnets):
        yield controlnet.repository(config, half=half)
    for name in lora.loras(params, family):
        yield lora.repository(name)
    if params.ip_adapter.enabled and not ip_adapter.left_out(params.ip_adapter):
        yield from ip_adapter.repositories(params.ip_adapter, family, half=half)


def check(params: StreamDiffusionParams) -> None:
    """Look, without a download, whether all that `params` need is there or may be fetched.

    Raises:
        ModelError: a folder is not there or no model, or something is not on the disk and the hub is not to be asked.
    """
    from huggingface_hub import constants

    try:
        for place in needs(params):
            if place.local or constants.HF_HUB_OFFLINE:
                folder = place.folder()
                if place.name == params.model_id:
                    model_index(folder)
            elif place.name == params.model_id and known_family(params.model_id) is None and place.cached() is None:
                return  # it has to be fetched before anything else can be known
    except NotDownloadedError:
        if constants.HF_HUB_OFFLINE:
            raise

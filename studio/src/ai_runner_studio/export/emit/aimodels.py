"""``aiModels.json`` and the map of images: what an orchestrator starts containers from, or runners that it finds.

Fields and checks are those of go-livepeer's worker (contract 3.3 and 3.4).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from .manifest import Manifest, ManifestError, json_text
from .shipment import Shipment

_Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AIModel(_Strict):
    """One entry of ``aiModels.json``; ``token`` is left out, since it is a secret.

    Attributes:
        url: of a runner that is there already; None: the orchestrator starts containers.
        warm: containers are started with the node.
        capacity: streams at a time: as many containers, or what is advertised of a runner.
        price_per_unit: in `currency` for `pixels_per_unit` pixels; wei if that is None.
    """

    pipeline: Literal["live-video-to-video"] = "live-video-to-video"
    model_id: _Text
    url: str | None = None
    warm: bool | None = None
    capacity: Annotated[int, Field(ge=1)] = 1
    price_per_unit: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    pixels_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    currency: str | None = None
    optimization_flags: dict[str, str | bool] | None = None

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        from pydantic import AnyHttpUrl

        parts = AnyHttpUrl(url) if url else None
        if parts is not None and (parts.username or parts.password or parts.query or parts.fragment):
            raise ValueError("give scheme, host, port and path alone")
        return url


class ImageOverrides(_Strict):
    """The map of ``-aiRunnerImageOverrides``: model id to image, for live pipelines."""

    live: dict[_Text, _Text]


_MODELS = TypeAdapter(list[AIModel])


def manifests(shipment: Shipment) -> list[Manifest]:
    """``aiModels.json`` and ``aiRunnerImageOverrides.json`` for containers that the orchestrator starts, and
    ``aiModels.external.json`` for runners that something else keeps running.

    Raises:
        UsageError: a runner's URL is none. ManifestError: a file would not be read by an orchestrator.
    """
    model_id = shipment.plan.model_id
    managed = _models([AIModel(model_id=model_id, warm=True, capacity=shipment.terms.replicas)])
    overrides = json_text(_overrides(shipment).model_dump())
    external = _models([_external(model_id, url) for url in shipment.urls])
    price = "price_per_unit is 0: an orchestrator on chain needs yours"
    return [
        Manifest("aiModels.json", managed, ("-aiModels aiModels.json: the orchestrator starts containers", price)),
        Manifest(
            "aiRunnerImageOverrides.json",
            overrides,
            ('-aiRunnerImageOverrides "$(cat aiRunnerImageOverrides.json)": which image it starts',),
        ),
        Manifest(
            "aiModels.external.json",
            external,
            (
                "-aiModels aiModels.external.json: the orchestrator uses runners that are there",
                'add "token" with the runner\'s AUTH_TOKEN: it is a secret, and so it is not in the file',
                price,
            ),
        ),
    ]


def _external(model_id: str, url: str) -> AIModel:
    from pydantic import ValidationError

    from ...errors import UsageError

    try:
        return AIModel(model_id=model_id, url=url)
    except ValidationError as error:
        raise UsageError(
            f"--runner-url {url!r} is no address of a runner: {error.errors()[0]['msg']}",
            "it looks like http://10.0.0.5:8000",
        ) from error


def _overrides(shipment: Shipment) -> ImageOverrides:
    return ImageOverrides(live={shipment.plan.model_id: shipment.reference})


def _models(models: list[AIModel]) -> str:
    """The file's text, read again as an orchestrator would."""
    text = json_text([model.model_dump(exclude_none=True) for model in models])
    if _MODELS.validate_json(text) != models:
        raise ManifestError("aiModels.json does not say what was meant")
    return text

"""``runners.json``: registers runners by the live-runner contract; the text is made by `runner.live_runner`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import UsageError
from .manifest import Manifest, ManifestError, json_text
from .shipment import Shipment


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Price(_Strict):
    price: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    currency: Literal["usd"]
    unit: Literal["hour", "720p", "fixed"]


class StaticRunner(_Strict):
    """One runner of ``runners.json``, as go-livepeer's ``doc/live-runner.md`` describes it."""

    label: Annotated[str, Field(min_length=1)]
    routing: Literal["runner-id", "label"]
    runner_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")]
    health_url: Annotated[str, Field(pattern=r"^(/|https?://)")]
    healthy_status_code: Literal[200]
    app: Annotated[str, Field(pattern=r"^[^/]+/.+$")]
    version: str = ""
    metadata: str = ""
    mode: Literal["persistent"]
    capacity: Literal[1]
    price_info: Price | None = None


class Runners(_Strict):
    runners: Annotated[list[StaticRunner], Field(min_length=1)]


def manifests(shipment: Shipment) -> list[Manifest]:
    """``runners.json``, with a runner for each replica; prices and metadata are those of ``LIVE_RUNNER_*``.

    Raises:
        UsageError: a runner's URL or a ``LIVE_RUNNER_*`` variable is of no use.
        ManifestError: the file does not fit the contract.
    """
    text = json_text({"runners": [_runner(shipment, index) for index in range(shipment.terms.replicas)]})
    try:
        checked = Runners.model_validate_json(text)
    except ValidationError as error:
        raise ManifestError(f"runners.json: {error}") from error
    notes = ["-liveRunnerConfig runners.json; the runners need LIVE_RUNNER=1"]
    if any(runner.price_info is None for runner in checked.runners):
        notes.append("no price: an orchestrator on chain needs one (LIVE_RUNNER_PRICE=0.25)")
    return [Manifest("runners.json", text, tuple(notes))]


def _runner(shipment: Shipment, index: int) -> Any:
    from runner.live_runner import LiveRunnerSettings, SettingsError
    from runner.live_runner.runners_json import runners_json

    # Neither the switch nor the secret of a registration is in the file.
    flags = {"runner_url": shipment.urls[index], "version": shipment.plan.version, "enabled": "0"}
    try:
        settings = LiveRunnerSettings.from_env(shipment.terms.environ, model_id=shipment.plan.model_id, flags=flags)
        made = runners_json(settings, label=shipment.names[index])
    except SettingsError as error:
        raise UsageError(f"--emit runners: {error}") from error
    return json.loads(made)["runners"][0]

"""LiveRunnerSettings: how this runner is offered to an orchestrator, from the environment and from flags."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import RunnerError

METADATA_LIMIT_BYTES = 1024
PRICE_UNITS = ("hour", "720p", "fixed")
CURRENCY = "usd"
MODE = "persistent"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingsError(RunnerError):
    """A setting that cannot be used; the message names it and the way out."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its environment variable, its flag (none for a secret: everybody sees a command line), its use."""

    variable: str
    flag: str
    meaning: str

    @property
    def name(self) -> str:
        """How it is named to a person."""
        return f"{self.variable} ({self.flag})" if self.flag else self.variable


SETTINGS: dict[str, Setting] = {
    "enabled": Setting("LIVE_RUNNER", "", "1: serve the routes of the live-runner contract"),
    "orchestrator": Setting(
        "LIVE_RUNNER_ORCHESTRATOR", "--orchestrator", "URL to register with; turns the routes on too"
    ),
    "secret": Setting("LIVE_RUNNER_SECRET", "", "the orchestrator's -orchSecret"),
    "runner_url": Setting("LIVE_RUNNER_URL", "--runner-url", "URL by which the orchestrator reaches this runner"),
    "app": Setting("LIVE_RUNNER_APP", "--app", "name on the network (default: live-video-to-video/<model id>)"),
    "version": Setting("VERSION", "--runner-version", "version that clients are told"),
    "metadata": Setting("LIVE_RUNNER_METADATA", "--metadata", "public text, at most 1,024 bytes"),
    "mode": Setting("LIVE_RUNNER_MODE", "--mode", "persistent: what a live stream needs"),
    "capacity": Setting("LIVE_RUNNER_CAPACITY", "--capacity", "sessions at a time: 1"),
    "price": Setting("LIVE_RUNNER_PRICE", "--price", "price per unit, 0 for free (which only off chain is)"),
    "currency": Setting("LIVE_RUNNER_CURRENCY", "--currency", "usd"),
    "price_unit": Setting("LIVE_RUNNER_PRICE_UNIT", "--price-unit", "hour, 720p (an hour of 720p at 30 fps) or fixed"),
    "proxy": Setting("LIVE_RUNNER_PROXY", "--proxy", "1: each session gets a random URL of its own (default: 0)"),
    "verify_tls": Setting("LIVE_RUNNER_VERIFY_TLS", "", "0: trust any certificate of the orchestrator"),
}


@dataclass(frozen=True, slots=True)
class LiveRunnerSettings:
    """How this runner is offered to an orchestrator; checked when it is made.

    Attributes:
        enabled: whether the routes are there at all.
        orchestrator: its URL; empty: registered by the orchestrator's operator (static), or not at all.
        secret: authorises the registration.
        runner_url: URL by which the orchestrator reaches this runner; paths of the routes are appended to it.
        app: by convention ``pipeline/model``.
        metadata: public, passed on verbatim.
        proxy: whether the orchestrator gives each session a random URL, as its ``-liveRunnerProxyUrl`` says.
        price: `currency` per `price_unit`, 0 for none.
        verify_tls: refuse an orchestrator's certificate that nobody known has signed.

    Raises:
        SettingsError: a value is not usable.
    """

    enabled: bool = False
    orchestrator: str = ""
    secret: str = field(default="", repr=False)
    runner_url: str = ""
    app: str = "live-video-to-video/pipeline"
    version: str = ""
    metadata: str = ""
    mode: str = MODE
    capacity: int = 1
    proxy: bool = False
    price: float = 0.0
    currency: str = CURRENCY
    price_unit: str = "hour"
    verify_tls: bool = True

    def __post_init__(self) -> None:
        self._check_offer()
        self._check_price()
        if self.runner_url:
            _check_url("runner_url", self.runner_url)
        if self.enabled and self.orchestrator:
            self._check_registration()

    @property
    def dynamic(self) -> bool:
        """Whether this runner registers itself."""
        return self.enabled and bool(self.orchestrator)

    def offer(self) -> dict[str, Any]:
        """The fields that static and dynamic registration share, as JSON."""
        return {
            "runner_url": self.runner_url,
            "app": self.app,
            "version": self.version,
            "metadata": self.metadata,
            "mode": self.mode,
            "capacity": self.capacity,
            "proxy": self.proxy,
            "price_info": {"price": self.price, "currency": self.currency, "unit": self.price_unit},
        }

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        model_id: str = "",
        flags: Mapping[str, str | None] | None = None,
    ) -> LiveRunnerSettings:
        """Settings of the environment; `flags` by field name go before it where they are not None.

        Raises:
            SettingsError: a value is not usable.
        """
        environ = os.environ if environ is None else environ
        given: dict[str, str] = {}
        for name, setting in SETTINGS.items():
            value = (flags or {}).get(name)
            value = environ.get(setting.variable, "") if value is None else value
            if value.strip():
                given[name] = value.strip()
        values: dict[str, Any] = dict(given)
        for name in ("enabled", "proxy", "verify_tls"):
            if name in given:
                values[name] = _switch(name, given[name])
        values.setdefault("enabled", "orchestrator" in given)
        if "capacity" in given:
            values["capacity"] = int(_number("capacity", given["capacity"]))
        if "price" in given:
            values["price"] = _number("price", given["price"])
        if model_id:
            values.setdefault("app", f"live-video-to-video/{model_id}")
        return cls(**values)

    def _check_offer(self) -> None:
        size = len(self.metadata.encode(errors="surrogatepass"))
        if size > METADATA_LIMIT_BYTES:
            raise _bad("metadata", f"has {size:,} bytes of UTF-8; {METADATA_LIMIT_BYTES:,} are allowed")
        if "\ufffd" in self.metadata or any("\ud800" <= char <= "\udfff" for char in self.metadata):
            raise _bad("metadata", "is not clean UTF-8 text: write it anew")
        if not self.app or self.app != self.app.strip():
            raise _bad(
                "app", f"is '{self.app}'; give a name without spaces around it, such as live-video-to-video/mine"
            )
        if self.mode != MODE:
            raise _bad("mode", f"is '{self.mode}'; a live stream outlasts a request, so only '{MODE}' works")
        if self.capacity != 1:
            raise _bad("capacity", f"is {self.capacity}; one pipeline serves one stream: start a runner for each")

    def _check_price(self) -> None:
        if not math.isfinite(self.price) or self.price < 0:
            raise _bad("price", f"is {self.price:g}; give a number that is not negative, such as 0.25")
        if self.currency != CURRENCY:
            raise _bad("currency", f"is '{self.currency}'; orchestrators take '{CURRENCY}' alone")
        if self.price_unit not in PRICE_UNITS:
            raise _bad("price_unit", f"is '{self.price_unit}'; it is one of {', '.join(PRICE_UNITS)}")

    def _check_registration(self) -> None:
        _check_url("orchestrator", self.orchestrator)
        if not self.secret:
            raise _bad("secret", "is not set; give it the orchestrator's -orchSecret, or leave the registration out")
        if any(not 32 < ord(char) < 127 for char in self.secret):
            raise _bad("secret", "has characters that no header can carry; use printable ASCII without spaces")
        if not self.runner_url:
            raise _bad("runner_url", "is not set; give the URL that the orchestrator reaches this runner by")


def _bad(name: str, problem: str) -> SettingsError:
    return SettingsError(f"{SETTINGS[name].name} {problem}")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(char.isspace() for char in url):
        raise _bad(name, "is no http(s) URL; it looks like https://host:8935")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _bad(name, "has a user name, a query or a fragment; give scheme, host, port and path alone")


def _switch(name: str, text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise _bad(name, f"is '{text}'; it is 1 or 0")
    return text.lower() in _TRUE


def _number(name: str, text: str) -> float:
    try:
        return int(text) if name == "capacity" else float(text)
    except ValueError:
        raise _bad(name, f"is '{text}', which is no number") from None

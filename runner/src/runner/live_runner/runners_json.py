"""The file with which an orchestrator's operator registers this runner: ``runners.json`` (static registration)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from .settings import SETTINGS, LiveRunnerSettings, SettingsError

DEFAULT_HEALTH_PATH = "/live-runner/health"
ROUTINGS = ("runner-id", "label")


def runners_json(
    settings: LiveRunnerSettings,
    *,
    label: str = "",
    routing: str = "runner-id",
    health_url: str = DEFAULT_HEALTH_PATH,
    gpu: dict[str, Any] | None = None,
) -> str:
    """The file's text. A price of 0 is left out: the runner is free, which only an off-chain orchestrator takes.

    Args:
        label: names this runner across registrations; by default the last part of the app's name.
        routing: whether public URLs have the runner's id or the label in them.
        health_url: polled about every 5 s; absolute, or from the root of the runner's URL.

    Raises:
        SettingsError: a value is not usable.
    """
    if not settings.runner_url:
        raise SettingsError(f"{SETTINGS['runner_url'].name} is not set; give the URL that the orchestrator uses")
    label = label or re.sub(r"[^A-Za-z0-9._-]+", "-", settings.app.rpartition("/")[2]).strip("-")
    _check(label, routing, health_url)
    offer = settings.offer()
    runner: dict[str, Any] = {
        "label": label,
        "routing": routing,
        "runner_url": settings.runner_url,
        "health_url": health_url,
        "healthy_status_code": 200,
        **{name: offer[name] for name in ("app", "version", "metadata", "mode", "capacity", "proxy") if offer[name]},
    }
    if gpu:
        runner["gpu"] = gpu
    if settings.price:
        runner["price_info"] = offer["price_info"]
    return json.dumps({"runners": [runner]}, indent=2, ensure_ascii=False)


def _check(label: str, routing: str, health_url: str) -> None:
    if not label or label != label.strip():
        raise SettingsError(f"--label is '{label}'; give a name without spaces around it, such as my-pipeline-1")
    if routing not in ROUTINGS:
        raise SettingsError(f"--routing is '{routing}'; it is one of {', '.join(ROUTINGS)}")
    if routing == "label" and "/" in label:
        raise SettingsError(f"--label is '{label}'; with --routing label it is a part of URLs, so it has no '/'")
    if health_url.startswith("/") and not health_url.startswith("//"):
        return
    try:
        parts = urlsplit(health_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"--health-url is '{health_url}'; it is a path from the root, or a whole http(s) URL")

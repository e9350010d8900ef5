"""Parameters to begin with, by the variables ``SUBVARIANT`` and ``STREAMDIFFUSION_PARAMS``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

SUBVARIANTS = ("sdturbo", "sd15", "sd15_v2v", "sdxl", "sdxl_faceid", "sdxl_v2v")


def default_params(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The set that ``SUBVARIANT`` names (``sdturbo``), with what ``STREAMDIFFUSION_PARAMS`` says on top.

    The latter is a JSON object, or the path of a file with one.

    Raises:
        ValueError: there is no such set, or that is no JSON object.
    """
    name = environ.get("SUBVARIANT", "").replace("-", "_") or "sdturbo"
    if name not in SUBVARIANTS:
        raise ValueError(
            f"SUBVARIANT={environ['SUBVARIANT']}: there is no such set; there are {', '.join(SUBVARIANTS)}"
        )
    params: dict[str, Any] = json.loads((files(__package__) / f"{name}.json").read_text())
    return params | _own(environ.get("STREAMDIFFUSION_PARAMS", ""))


def _own(given: str) -> dict[str, Any]:
    if not given.strip():
        return {}
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text()
        own = json.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"STREAMDIFFUSION_PARAMS is neither JSON nor a file with JSON: {error}") from error
    if not isinstance(own, dict):
        raise ValueError(f"STREAMDIFFUSION_PARAMS must be a JSON object, not a {type(own).__name__}")
    return own

"""Fetching models ahead of time, and proof that they then work without a connection."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from .defaults import default_params
from .errors import ModelError
from .params import StreamDiffusionParams

logger = logging.getLogger(__name__)


def prepare() -> None:
    """Fetch what the parameters of the environment need, and nothing else; an attempt that was cut off goes on.

    Raises:
        ModelError: something is not to be had, or does not work without a connection.
    """
    for library in ("httpx", "httpx2"):  # a line for every request, of either that huggingface_hub uses
        logging.getLogger(library).setLevel(logging.WARNING)
    params = StreamDiffusionParams(**default_params())
    fetch(params)
    prove(params)


def fetch(params: StreamDiffusionParams) -> list[Path]:
    """The folders of all that `params` need, fetched where they are not there. Raises as `Repository.folder`."""
    from .needs import needs

    folders = []
    for place in needs(params):
        folders.append(place.folder())
        logger.info("%s is in %s", place.name, folders[-1])
    return folders


def prove(params: StreamDiffusionParams) -> None:
    """Load and paint one picture in a process that may not ask the hub.

    Raises:
        ModelError: that failed; with the reason.
    """
    logger.info("loading %s without a connection", params.model_id)
    result = subprocess.run(
        [sys.executable, "-m", f"{__package__}.proof"],
        input=params.model_dump_json(),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()
        raise ModelError(
            f"what was fetched does not work without a connection: {reason[-1] if reason else result.returncode}"
        )
    logger.info("%s works without a connection", params.model_id)

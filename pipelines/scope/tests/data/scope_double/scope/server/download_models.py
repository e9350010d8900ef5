"""Fetches from a folder, which `DOUBLE_HUB` names, instead of from the network; logs its progress."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def download_artifact(artifact: Any, models_root: Path, pipeline_id: str) -> None:
    drive = hasattr(artifact, "file_id")
    source = Path(os.environ["DOUBLE_HUB"]) / (artifact.file_id if drive else artifact.repo_id)
    if not source.is_dir():
        raise ConnectionError(f"{source.name} cannot be reached")
    folder = models_root / ((artifact.name or "") if drive else artifact.repo_id.split("/")[-1])
    for number, file in enumerate(artifact.files, 1):
        logger.info("[%d/%d] Downloading: %s", number, len(artifact.files), file)
        if (source / file).is_dir():
            shutil.copytree(source / file, folder / file, dirs_exist_ok=True)
        elif (source / file).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, folder / file)

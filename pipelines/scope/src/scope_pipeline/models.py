"""The files that a Scope pipeline declares (its *artifacts*): where they lie, which are missing, and fetching them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .errors import DownloadFailed, ModelsMissing
from .registry import ScopePipeline

logger = logging.getLogger(__name__)

_NAMED = 3  # missing files that a message lists


def artifact_name(artifact: Any) -> str:
    """What an artifact is called: its hub repository, or the id of a Google Drive file."""
    return str(getattr(artifact, "repo_id", None) or getattr(artifact, "file_id", None) or artifact)


def artifact_paths(artifact: Any, models: Path) -> list[Path]:
    """The files and folders that Scope's own download makes of an artifact; empty for a kind that is not known."""
    files = list(getattr(artifact, "files", None) or [])
    if getattr(artifact, "repo_id", None):
        return [models / artifact.repo_id.split("/")[-1] / file for file in files]
    if getattr(artifact, "file_id", None):
        folder = models / artifact.name if artifact.name else models
        return [folder / file for file in files or [artifact.file_id]]
    return []


def missing_files(pipeline: ScopePipeline, models: Path) -> list[Path]:
    """Those of a pipeline's files that are not in the models folder; an empty folder counts as missing."""
    paths = [path for artifact in pipeline.artifacts for path in artifact_paths(artifact, models)]
    return [path for path in paths if not path.exists() or (path.is_dir() and not any(path.iterdir()))]


def check_models(pipeline: ScopePipeline, models: Path) -> None:
    """Look for a pipeline's files before minutes are spent on loading it.

    Raises:
        ModelsMissing: names the first of them, and the command that fetches them.
    """
    missing = missing_files(pipeline, models)
    if not missing:
        return
    named = ", ".join(str(path.relative_to(models)) for path in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise ModelsMissing(
        f"Scope pipeline '{pipeline.id}' needs files that are not in {models}: {named}{more}. "
        f"Fetch them: SCOPE_PIPELINE={pipeline.id} scope-runner --prepare-models"
    )


def fetch_models(pipeline: ScopePipeline, models: Path) -> None:
    """Fetch what is missing by Scope's own download, which resumes what was cut off and logs its progress.

    Raises:
        DownloadFailed: an artifact could not be fetched, or is not what its description says.
    """
    wanted = [artifact for artifact in pipeline.artifacts if not _is_there(artifact, models)]
    logger.info("Scope pipeline '%s': %d of %d artifacts to fetch", pipeline.id, len(wanted), len(pipeline.artifacts))
    if not wanted:
        return
    from scope.server.download_models import download_artifact

    models.mkdir(parents=True, exist_ok=True)
    for number, artifact in enumerate(wanted, 1):
        logger.info("artifact %d of %d: %s", number, len(wanted), artifact_name(artifact))
        try:
            download_artifact(artifact, models, pipeline.id)
        except Exception as error:
            raise DownloadFailed(
                f"artifact {artifact_name(artifact)} of Scope pipeline '{pipeline.id}' could not be fetched: "
                f"{type(error).__name__}: {error}. What has come is kept: run it again to go on"
            ) from error
    missing = missing_files(pipeline, models)
    if missing:
        raise DownloadFailed(
            f"the artifacts of Scope pipeline '{pipeline.id}' were fetched, but {missing[0]} is not among them"
        )


def _is_there(artifact: Any, models: Path) -> bool:
    paths = artifact_paths(artifact, models)
    return bool(paths) and all(path.exists() and (path.is_file() or any(path.iterdir())) for path in paths)

"""Preparing a pipeline's models ahead of time, in this process: `PREPARE_MODELS=1`, ``--prepare-models``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os

from .errors import PipelineLoadError
from .live.pipelines import PipelineSpec
from .live.report import report_exception
from .module_command import put_current_folder_first
from .pipelines.live_video_to_video import model_env

logger = logging.getLogger(__name__)


def prepare_models(spec: PipelineSpec) -> int:
    """Run the class's `prepare_models`; the exit code: 0 done, 1 failed, with the reason in the log.

    Import paths are looked for below the current folder too, as everywhere.
    """
    from .live.pipelines.loader import load_pipeline_class

    os.environ.update(model_env(os.environ))
    put_current_folder_first()
    logger.info("preparing models of %s, in %s", spec.name, os.environ["MODEL_DIR"])
    try:
        prepared = load_pipeline_class(spec.pipeline_cls).prepare_models()
        if inspect.isawaitable(prepared):
            asyncio.run(_finish(prepared))
    except PipelineLoadError as error:
        logger.error("%s", error)
        return 1
    except NotImplementedError as error:
        logger.error("%s has no models to prepare in this way%s", spec.pipeline_cls, f": {error}" if str(error) else "")
        return 1
    except (Exception, SystemExit) as error:
        report = report_exception(error, "import")
        logger.error("models of %s were not prepared: %s", spec.name, report.headline)
        logger.debug("%s", report.traceback)
        return 1
    logger.info("models of %s are prepared", spec.name)
    return 0


async def _finish(prepared: object) -> None:
    """A `prepare_models` that was written as a coroutine."""
    assert inspect.isawaitable(prepared)
    await prepared

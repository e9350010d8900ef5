"""From params to a running pipeline: checked by its config class, its files looked for, constructed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from .construct import construct
from .folders import use_model_folders
from .form import Filled, Form, modes
from .models import check_models
from .params import ScopeParams
from .registry import ScopePipeline, find_pipeline, registered_ids
from .running import RunningPipeline

logger = logging.getLogger(__name__)


def fill(params: Mapping[str, Any], before: Filled | None = None) -> Filled:
    """Params checked by the form of the pipeline that they name.

    Args:
        before: what is in force; a change to another pipeline or mode takes from params what was meant for that.

    Raises:
        ScopeError: there is no such pipeline here.
        ParamsError: with the reason for each refused field.
    """
    params = dict(params)
    given = ScopeParams.check(params)
    pipeline = find_pipeline(given.pipeline)
    mode = given.input_mode
    if before is None:
        return Form.of(pipeline, mode, registered_ids()).fill(params)
    if pipeline.id != before.form.pipeline.id and mode == before.form.mode:
        # Nobody's choice but what the screen showed, where the other pipeline does not have it.
        mode = mode if mode in modes(pipeline.config_class) else None
        params["input_mode"] = mode
    form = Form.of(pipeline, mode, registered_ids())
    if (form.pipeline.id, form.mode) == (before.form.pipeline.id, before.form.mode):
        return before.form.fill(params)
    return form.fill(before.form.meant_for(form, params))


def load(filled: Filled) -> RunningPipeline:
    """Construct the pipeline; takes as long as loading its models.

    Raises:
        ModelsMissing, ConstructionFailed: it cannot be.
    """
    pipeline = filled.form.pipeline
    models = use_model_folders(os.environ)
    check_models(pipeline, models)
    _warn_of_memory(pipeline)
    return RunningPipeline(construct(pipeline, filled.values, models), filled)


def _warn_of_memory(pipeline: ScopePipeline) -> None:
    import torch

    need_gb = getattr(pipeline.config_class, "estimated_vram_gb", None)
    if need_gb is None or not torch.cuda.is_available():
        return
    total_gb = torch.cuda.mem_get_info()[1] / 2**30
    if total_gb < need_gb:
        logger.warning("Scope pipeline '%s' needs %g GB of GPU memory; there are %.1f", pipeline.id, need_gb, total_gb)

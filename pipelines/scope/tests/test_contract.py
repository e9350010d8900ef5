"""The runner's contract suite over Scope pipelines of the double."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from runner.live.pipelines import PipelineSpec
from runner.testing import PipelineContract

from .conftest import DOUBLE, forget_scope
from .driver import SIZE


def spec(pipeline: str, **params: Any) -> PipelineSpec:
    return PipelineSpec(
        name="scope",
        pipeline_cls="scope_pipeline.pipeline:Scope",
        params_cls="scope_pipeline.params:ScopeParams",
        initial_params={**SIZE, "pipeline": pipeline, **params},
    )


class WithDouble:
    """The double can be imported, here and in processes that are started."""

    @pytest.fixture(autouse=True, scope="class")
    def _double(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            models = tmp_path_factory.mktemp("models")
            for name in ("DAYDREAM_SCOPE_DIR", "DAYDREAM_SCOPE_MODELS_DIR", "DAYDREAM_SCOPE_PLUGINS_DIR"):
                patch.setenv(name, str(models))
            patch.setenv("SCOPE_PIPELINE", "gray")
            patch.setenv("PYTHONPATH", str(DOUBLE))
            patch.syspath_prepend(str(DOUBLE))
            forget_scope()
            yield
        forget_scope()


class TestOneByOne(WithDouble, PipelineContract):
    spec = spec("gray")
    live_params = ({**SIZE, "pipeline": "gray", "strength": 0.5},)
    reload_params = ({**SIZE, "pipeline": "gray", "method": "mean"}, {**SIZE, "pipeline": "gray", "method": "luma"})
    bad_params = ({**SIZE, "pipeline": "gray", "strength": 2}, {**SIZE, "pipeline": "grey"}, {**SIZE, "strenght": 1})


class TestChunksOfFour(WithDouble, PipelineContract):
    spec = spec("passthrough")
    exact = True


class TestManyOfFour(WithDouble, PipelineContract):
    """45 of every four inputs."""

    spec = spec("bare")
    outputs_per_input = Fraction(45, 4)


class TestFromText(WithDouble, PipelineContract):
    """Nine, then twelve of each input."""

    spec = spec("waves")
    outputs_per_input = None
    live_params = ({**SIZE, "pipeline": "waves", "prompts": [{"text": "a bear", "weight": 3}]},)
    reload_params = ({**SIZE, "pipeline": "waves", "vae_type": "tiny"},)
    bad_params = ({**SIZE, "pipeline": "waves", "denoising_steps": [1, 2]},)

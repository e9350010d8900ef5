"""Pipelines as they are written for Livepeer's runner, and in the style of its proposed decorator: they run as they are."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from runner.errors import NotAPipelineError
from runner.live.pipelines import BaseParams, Pipeline, PipelineSpec, pipeline
from runner.testing import EntrypointContract, PipelineContract

from ..http.infer_process import PATIENT_FOLDER

UPSTREAM = Path(__file__).with_name("upstream")


@pytest.fixture(autouse=True, scope="module")
def _on_the_path() -> Iterator[None]:
    sys.path.insert(0, str(UPSTREAM))
    yield
    sys.path.remove(str(UPSTREAM))
    for name in [name for name, module in sys.modules.items() if str(UPSTREAM) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


# Params classes of that time are configured by a nested class.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
class TestWithAModel(PipelineContract):
    spec = PipelineSpec(pipeline_cls="queued:Queued", params_cls="queued_params:QueuedParams")
    live_params = ({"gain": 0.5},)
    reload_params = ({"model": "light"}, {"model": "missing"})
    bad_params = ({"gain": "much"}, {"unknown": 1})


class TestChunks(PipelineContract):
    spec = PipelineSpec(name="scope", pipeline_cls="chunked:Chunked")
    outputs_per_input = 3
    # Chunks in a pipeline process: `test_pipeline_contract`.
    test_it_runs_in_the_pipeline_process_and_leaves_nothing = None


class TestEarlierLayout(PipelineContract):
    spec = PipelineSpec(pipeline_cls="earlier:Earlier")
    exact = True


class TestDecoratedFunction(PipelineContract):
    spec = PipelineSpec(name="green-shift", pipeline_cls="decorated:green_shift")
    test_it_runs_in_the_pipeline_process_and_leaves_nothing = None  # `TestDecoratedScript`


class TestDecoratedPipelineClass(PipelineContract):
    spec = PipelineSpec(name="outline", pipeline_cls="decorated:Outline", initial_params={"threshold": 0.2})
    live_params = ({"threshold": 0.4},)
    bad_params = ({"threshold": 2}, {"kernel": 2})


class TestDecoratedPlainClass(PipelineContract):
    spec = PipelineSpec(name="models", pipeline_cls="decorated:Models")
    live_params = ({"threshold": 0.4},)
    reload_params = ({"kernel": 5},)
    bad_params = ({"kernel": "five"},)


class TestDecoratedScript(EntrypointContract):
    """``python decorated.py`` serves what it defines."""

    command = (sys.executable, "decorated.py")
    model_id = "green-shift"
    pictures = 8
    environment = MappingProxyType({"PYTHONPATH": str(PATIENT_FOLDER)})

    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = super().folder(tmp_path_factory)
        shutil.copy(UPSTREAM / "decorated.py", folder)
        return folder


class TestDecorator:
    def test_it_names_the_pipeline(self) -> None:
        decorated = importlib.import_module("decorated")
        assert issubclass(decorated.Outline, Pipeline)
        assert decorated.Outline._spec == PipelineSpec(
            name="outline", pipeline_cls="decorated:Outline", initial_params={"threshold": 0.2}
        )

    def test_params_of_a_module_of_their_own_are_named_too(self) -> None:
        @pipeline("mine", params=_params_elsewhere())
        def mine(frame: Any, _params: Any) -> Any:
            return frame.tensor

        assert mine._spec.params_cls == "noop_pipeline.params:NoopParams"

    def test_both_import_paths_are_one(self) -> None:
        create = importlib.import_module("app.live.pipelines.create")
        assert create.pipeline is pipeline

    @pytest.mark.parametrize(
        ("target", "reason"), [(type("Empty", (), {}), "class Empty has no method transform"), (3, "not int")]
    )
    def test_what_cannot_be_one_is_refused(self, target: Any, reason: str) -> None:
        with pytest.raises(NotAPipelineError, match=reason):
            pipeline("mine")(target)


def _params_elsewhere() -> type[BaseParams]:
    from noop_pipeline.params import NoopParams

    return NoopParams

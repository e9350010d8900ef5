"""Import path -> class: each way of failing has its own error, and says the way out."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import ConfigDict

from runner.errors import (
    ClassNotFound,
    HeavyParamsError,
    ImportPathError,
    ModuleNotFound,
    NotAPipelineError,
    ParamsError,
)
from runner.live.pipelines import BaseParams, Pipeline, PipelineSpec, builtin_pipeline_spec
from runner.live.pipelines.loader import (
    accepted_params,
    as_typed,
    check_typed,
    load_params_class,
    load_pipeline,
    load_pipeline_class,
    parse_pipeline_params,
)
from runner.param_text import param_value

from ..conftest import WriteModule

FULL = """
    from runner.live.pipelines import Pipeline
    class Mine(Pipeline):
        async def initialize(self, **params): self.params = params
        async def put_video_frame(self, frame, request_id): ...
        async def get_processed_video_frame(self): ...
        async def update_params(self, **params): ...
        @classmethod
        def prepare_models(cls): ...
    class Half(Pipeline):
        async def initialize(self, **params): ...
    class Other: ...
"""


class Typed(BaseParams):
    text: str = ""
    gain: float = 1.0
    either: int | str = 0


class Open(BaseParams):
    model_config = ConfigDict(extra="allow")


class TestPipelineClass:
    def test_a_pipeline_loads(self, write: WriteModule) -> None:
        write("pkg_a.pipeline", FULL)
        assert isinstance(load_pipeline(PipelineSpec(pipeline_cls="pkg_a.pipeline:Mine")), Pipeline)

    @pytest.mark.parametrize(
        ("path", "error", "said"),
        [
            ("pkg_b.pipeline", ImportPathError, "package.module:Class"),
            ("pkg_b/pipeline.py:Mine", ImportPathError, "my_pipeline.pipeline"),
            ("", ImportPathError, "''"),
            ("pkg_b.pipelin:Mine", ModuleNotFound, "no module 'pkg_b.pipelin'.*Did you mean 'pipeline'"),
            ("nowhere.pipeline:Mine", ModuleNotFound, "no module 'nowhere'"),
            ("pkg_b.pipeline:Mien", ClassNotFound, "Did you mean 'Mine'"),
            ("pkg_b.pipeline:Zzz", ClassNotFound, "It defines: .*Mine"),
            ("pkg_b.pipeline:Other", NotAPipelineError, "transform"),
            ("pkg_b.pipeline:Half", NotAPipelineError, "does not define .*put_video_frame"),
        ],
    )
    def test_what_is_wrong_is_said(self, write: WriteModule, path: str, error: type[Exception], said: str) -> None:
        write("pkg_b.pipeline", FULL)
        with pytest.raises(error, match=said):
            load_pipeline_class(path)

    @pytest.mark.parametrize("path", ["queue:Mine", "queue.pipeline:Mine", "sys:Mine"])
    def test_a_module_named_like_one_of_the_standard_library_is_named(self, write: WriteModule, path: str) -> None:
        file = write(path.partition(":")[0].replace("queue.pipeline", "queue.__init__"), FULL)
        with pytest.raises((ModuleNotFound, ClassNotFound), match=f"^{file} has the name of"):
            load_pipeline_class(path)

    def test_a_broken_import_inside_the_module_passes_through(self, write: WriteModule) -> None:
        write("pkg_c.pipeline", "import not_installed_anywhere\n")
        with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
            load_pipeline_class("pkg_c.pipeline:Mine")

    def test_the_built_in_one_has_the_networks_name(self) -> None:
        spec = builtin_pipeline_spec("noop")
        assert spec is not None
        assert (spec.name, load_pipeline_class(spec.pipeline_cls).__name__) == ("noop", "Noop")
        assert builtin_pipeline_spec("other") is None


class TestSpec:
    def test_the_name_comes_from_the_class(self) -> None:
        assert PipelineSpec(pipeline_cls="a.b:GreenShiftPipeline").name == "greenshift"
        assert PipelineSpec(name="x", pipeline_cls="a.b:C").name == "x"

    def test_it_survives_a_json_round_trip(self) -> None:
        spec = PipelineSpec(pipeline_cls="a.b:C", params_cls="a.p:P", initial_params={"n": [1, 2]})
        assert PipelineSpec.model_validate_json(spec.model_dump_json()) == spec


class TestParamsClass:
    def test_none_named_is_the_base_class(self) -> None:
        assert load_params_class(PipelineSpec(pipeline_cls="x.y:Z")) is BaseParams

    def test_refused_values_are_named_with_reasons(self) -> None:
        with pytest.raises(ParamsError, match="width") as caught:
            parse_pipeline_params(PipelineSpec(pipeline_cls="x.y:Z"), {"width": 100, "height": 512})
        assert list(caught.value.refused) == ["width"]
        assert "multiple of 64" in caught.value.refused["width"]

    @pytest.mark.parametrize("statement", ["import torch", "from torch import nn", "import pkg_d.pipeline"])
    def test_heavy_imports_are_refused_and_the_line_is_named(self, write: WriteModule, statement: str) -> None:
        write("pkg_d.pipeline", FULL)
        write("pkg_d.params", f"{statement}\nfrom runner.live.pipelines import BaseParams\nclass P(BaseParams): ...\n")
        spec = PipelineSpec(pipeline_cls="pkg_d.pipeline:Mine", params_cls="pkg_d.params:P")
        with pytest.raises(HeavyParamsError, match=r"params\.py, line 1\)"):
            load_params_class(spec)

    def test_a_package_that_imports_the_pipeline_is_refused_too(self, write: WriteModule) -> None:
        write("pkg_e.__init__", "from .pipeline import Mine\n")
        write("pkg_e.pipeline", FULL)
        write("pkg_e.params", "from runner.live.pipelines import BaseParams\nclass P(BaseParams): ...\n")
        spec = PipelineSpec(pipeline_cls="pkg_e.pipeline:Mine", params_cls="pkg_e.params:P")
        with pytest.raises(HeavyParamsError, match=r"imports 'pkg_e.pipeline' \(.*__init__\.py, line 1\)"):
            load_params_class(spec)

    def test_the_pipelines_own_module_is_refused(self) -> None:
        with pytest.raises(HeavyParamsError, match="module of its own"):
            load_params_class(PipelineSpec(pipeline_cls="a.b:C", params_cls="a.b:P"))

    @pytest.mark.parametrize(
        ("typed", "expected"),
        [
            ({"text": "12"}, {"text": "12"}),
            ({"text": "1.10"}, {"text": "1.10"}),
            ({"text": "true"}, {"text": "true"}),
            ({"text": "[1]"}, {"text": "[1]"}),
            ({"text": "plain"}, {"text": "plain"}),
            ({"either": "12"}, {"either": 12}),
            ({"gain": "2", "text": "2"}, {"gain": 2, "text": "2"}),
            ({"gain": "[1]", "text": "2"}, {"gain": [1], "text": "2"}),
        ],
    )
    def test_a_field_that_takes_only_text_gets_what_was_typed(
        self, typed: dict[str, str], expected: dict[str, object]
    ) -> None:
        params = {name: param_value(text) for name, text in typed.items()}
        assert as_typed(Typed, params, typed) == expected

    def test_a_value_that_has_changed_since_is_left_alone(self) -> None:
        assert as_typed(Typed, {"text": 5}, {"text": "12"}) == {"text": 5}

    @pytest.mark.parametrize(
        ("params_class", "pipeline", "refused"),
        [(Typed, "Full", True), (BaseParams, "Full", False), (BaseParams, "effect", True), (Open, "effect", False)],
    )
    def test_a_typed_name_must_be_read_by_something(
        self, write: WriteModule, params_class: type[BaseParams], pipeline: str, refused: bool
    ) -> None:
        write("pkg_g", FULL.replace("class Mine", "def effect(frame): return frame\n    class Full"))
        pipeline_class = load_pipeline_class(f"pkg_g:{pipeline}")
        check_typed(params_class, pipeline_class, {"width": "512"})
        with pytest.raises(ParamsError, match="no param 'gian'") if refused else nullcontext():
            check_typed(params_class, pipeline_class, {"gian": "1"})

    def test_after_a_reload_unknown_params_are_dropped_and_named(self, write: WriteModule) -> None:
        write(
            "pkg_f.params",
            """
            from pydantic import ConfigDict, Field
            from runner.live.pipelines import BaseParams
            class P(BaseParams):
                model_config = ConfigDict(extra="forbid")
                gain: float = Field(1.0, le=2)
            """,
        )
        cls = load_params_class(PipelineSpec(pipeline_cls="pkg_f.pipeline:C", params_cls="pkg_f.params:P"))
        accepted, refused = accepted_params(cls, {"gain": 9, "gone": 1, "width": 640})
        assert accepted == {"width": 640}
        assert sorted(refused) == ["gain", "gone"]


_LOADED = (
    "import {module}, sys; print(*[m for m in ('torch', 'numpy', 'av', 'cv2', 'PIL', 'textual') if m in sys.modules])"
)


@pytest.mark.parametrize("module", ["runner.live.pipelines", "runner.live.trickle", "app.live.pipelines.interface"])
def test_what_params_modules_build_on_is_light(module: str) -> None:
    """In a fresh interpreter: `sys.modules` is the only witness of deferred imports."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(module=module)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_earlier_layout_names_the_same_objects() -> None:
    import app.live.pipelines.interface
    import app.live.trickle
    from app.live.pipelines.interface import BaseParams as OldParams
    from app.live.trickle import VideoFrame as OldFrame

    import runner.live.trickle

    assert app.live.trickle is runner.live.trickle
    assert OldParams is BaseParams
    assert OldFrame is runner.live.trickle.VideoFrame
    assert runner.live.trickle.__spec__.name == "runner.live.trickle"
    assert app.live.pipelines.interface.Pipeline is Pipeline


def test_a_file_named_like_the_runtimes_package_is_to_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runner.py").write_text("class Effect: pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClassNotFound, match=r"runner\.py has the name of the runtime's package: rename it"):
        load_pipeline_class("runner:Effect")

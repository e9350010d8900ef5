"""Finding Scope, its pipelines, plugins and models, and what is said when one is not there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runner.live.report import report_exception
from scope_pipeline.errors import (
    ConstructionFailed,
    DownloadFailed,
    ModelsMissing,
    PipelineUnavailable,
    ScopeNotInstalled,
    UnknownScopePipeline,
)
from scope_pipeline.loading import fill, load
from scope_pipeline.pipeline import Scope
from scope_pipeline.registry import find_pipeline, load_registry, registered_ids

from .driver import SIZE, Driver, levels

pytestmark = pytest.mark.quick

PLUGIN = """
from pydantic import Field
import torch
from scope.core import hookimpl
from scope.core.pipelines.base_schema import BasePipelineConfig, ModeDefaults
from scope.core.pipelines.interface import Pipeline, Requirements

class NegativeConfig(BasePipelineConfig):
    pipeline_id = "negative"
    pipeline_name = "Negative"
    modes = {"video": ModeDefaults(default=True)}
    depth: int = Field(default=255, ge=1, le=255)

class Negative(Pipeline):
    def __init__(self, depth, base_seed=1, **kwargs):
        self.made_with = {"depth": depth, "base_seed": base_seed, **kwargs}
    @classmethod
    def get_config_class(cls):
        return NegativeConfig
    def prepare(self, **kwargs):
        return Requirements(input_size=1)
    def __call__(self, **kwargs):
        return {"video": kwargs["depth"] - torch.cat(kwargs["video"])}

@hookimpl
def register_pipelines(register):
    register(Negative)
"""


def install_plugin(folder: Path, source: str, name: str = "scope-negative") -> Path:
    """Build a wheel with one module and its entry point, and have pip install it into a folder of its own."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0.dist-info"
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{module}.py", source)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", f"[scope]\n{module} = {module}\n")
        archive.writestr(f"{info}/RECORD", "")
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), wheel]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, capture_output=True)
    return target


class TestScopeItself:
    @pytest.mark.usefixtures("no_scope")
    def test_without_scope_the_error_says_what_to_install(self) -> None:
        with pytest.raises(ScopeNotInstalled, match=r"not installed in .*github\.com/daydreamlive/scope"):
            load_registry()

    @pytest.mark.usefixtures("no_scope")
    def test_another_package_of_that_name_is_told_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "other" / "scope").mkdir(parents=True)
        (tmp_path / "other" / "scope" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path / "other"))
        with pytest.raises(ScopeNotInstalled, match=r"other/scope/__init__\.py is not Daydream Scope"):
            load_registry()

    def test_a_library_that_scope_lacks_is_named(self, no_scope: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pipelines = no_scope.parent / "broken" / "scope" / "core" / "pipelines"
        pipelines.mkdir(parents=True)
        (pipelines / "registry.py").write_text("import a_missing_library")
        monkeypatch.syspath_prepend(str(no_scope.parent / "broken"))
        with pytest.raises(
            ScopeNotInstalled, match=r"without 'a_missing_library': .* -m pip install a_missing_library"
        ):
            load_registry()

    def test_its_folders_are_set_before_it_looks_for_plugins(self, scope: Path) -> None:
        load_registry()
        assert importlib.import_module("scope.core.plugins").installed_from == [str(scope.parent / "Scope--plugins")]


@pytest.mark.usefixtures("scope")
class TestPipelines:
    def test_an_unknown_id_names_the_nearest(self) -> None:
        with pytest.raises(UnknownScopePipeline, match=r"no pipeline 'wave'\. Did you mean 'waves'"):
            find_pipeline("wave")

    def test_an_id_like_no_other_lists_those_there_are(self) -> None:
        with pytest.raises(UnknownScopePipeline, match="There are: bare, echo-files, gray, passthrough, waves"):
            find_pipeline("zzz")

    @pytest.mark.skipif(importlib.import_module("torch").cuda.is_available(), reason="there is a GPU")
    def test_one_that_needs_a_gpu_says_how_much_of_it(self) -> None:
        with pytest.raises(PipelineUnavailable, match=r"'longlive' needs a GPU with 20 GB .* Here run: bare"):
            find_pipeline("longlive")

    @pytest.mark.parametrize("pipeline", ["torn", "half"])
    def test_one_that_cannot_be_imported_says_why(self, pipeline: str) -> None:
        with pytest.raises(
            PipelineUnavailable, match=rf"'{pipeline}' cannot be imported: .*a_library_that_is_not_there"
        ):
            find_pipeline(pipeline)

    def test_missing_weights_are_named_with_the_command_that_fetches_them(self) -> None:
        with pytest.raises(
            ModelsMissing, match=r"echo/weights\.bin, echo/tables\. Fetch them: SCOPE_PIPELINE=echo-files scope-runner"
        ):
            load(fill({"pipeline": "echo-files"}))

    def test_a_constructor_that_fails_is_told_in_a_sentence(self) -> None:
        with pytest.raises(ConstructionFailed, match="'waves' could not be made: RuntimeError: weights do not fit"):
            load(fill({"pipeline": "waves", "base_seed": 666}))

    def test_scopes_own_loader_makes_the_config_of_its_own_pipelines(self, scope: Path) -> None:
        load(fill({"pipeline": "waves", "vae_type": "tiny", **SIZE}))
        made = sys.modules["scope.core.pipelines.waves.pipeline"].instances[-1]
        assert made.generator_path == f"{scope}/waves/generator.pt"
        assert (made.vae_type, made.size) == ("tiny", (64, 64))


class TestPlugins:
    async def test_a_plugin_is_found_through_its_entry_point_and_gets_its_fields(
        self, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(install_plugin(tmp_path, PLUGIN)))
        await driver.start(pipeline="negative", depth=200)
        await driver.put(3)
        assert levels(await driver.take(3)) == [200, 199, 198]
        made = driver.pipeline._running._node.made_with  # type: ignore[union-attr]
        assert (made["depth"], made["base_seed"], made["width"]) == (200, 42, 64)
        assert "negative" in registered_ids()
        sys.modules.pop("scope_negative")

    @pytest.mark.usefixtures("scope")
    def test_a_plugin_that_fails_to_load_is_named_where_an_id_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(install_plugin(tmp_path, "1 / 0", "scope-broken")))
        with pytest.raises(UnknownScopePipeline, match=r"failed to load: scope-broken \(division by zero\)"):
            find_pipeline("mine")

    @pytest.mark.parametrize(
        ("constructor", "reason"),
        [("def __init__(self, lens): ...", "wants lens, which its config class NegativeConfig")],
    )
    @pytest.mark.usefixtures("scope")
    def test_an_argument_that_nobody_can_give_is_named(self, constructor: str, reason: str) -> None:
        space: dict[str, object] = {}
        load_registry()
        exec(
            PLUGIN.replace(
                "def __init__(self, depth, base_seed=1, **kwargs):\n        ",
                f"{constructor}\n    def _unused(self, depth, base_seed, **kwargs):\n        ",
            ),
            space,
        )
        load_registry().register("negative", space["Negative"])
        with pytest.raises(ConstructionFailed, match=reason):
            load(fill({"pipeline": "negative"}))

    @pytest.mark.usefixtures("scope")
    def test_a_constructor_that_fails_shows_its_own_line(self, tmp_path: Path) -> None:
        space: dict[str, object] = {}
        load_registry()
        source = tmp_path / "negative.py"
        source.write_text(PLUGIN.replace("self.made_with = ", "1 / 0 #"))
        exec(compile(source.read_text(), str(source), "exec"), space)
        load_registry().register("negative", space["Negative"])
        with pytest.raises(ConstructionFailed, match="'negative' could not be made: ZeroDivisionError") as caught:
            load(fill({"pipeline": "negative"}))
        report = report_exception(caught.value, "initialize")
        assert (report.file, report.function) == (str(source), "__init__")

    @pytest.mark.usefixtures("scope")
    def test_a_plugin_may_ask_for_an_omegaconf_config(self, no_scope: Path) -> None:
        space: dict[str, object] = {}
        load_registry()
        exec(
            PLUGIN.replace("self, depth, base_seed=1, **kwargs", "self, config").replace(
                '{"depth": depth, "base_seed": base_seed, **kwargs}', "config"
            ),
            space,
        )
        load_registry().register("negative", space["Negative"])
        running = load(fill({"pipeline": "negative", "depth": 9}))
        assert running._node.made_with.depth == 9
        assert running._node.made_with.model_dir == str(no_scope)


class TestModels:
    @pytest.fixture
    def hub(self, scope: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where the double fetches from; the pipeline needs a GPU, which fetching does not."""
        monkeypatch.setenv("SCOPE_PIPELINE", "longlive")
        hub = scope.parents[1] / "hub"
        monkeypatch.setenv("DOUBLE_HUB", str(hub))
        repository = hub / "Wan-AI" / "Wan2.1-T2V-1.3B"
        (repository / "google").mkdir(parents=True)
        (repository / "google" / "tokens.json").write_text("{}")
        (repository / "config.json").write_text("{}")
        return hub

    def put_on_drive(self, hub: Path) -> None:
        (hub / "1a2b3c").mkdir()
        (hub / "1a2b3c" / "flow.pt").write_text("flow")

    def test_all_artifacts_are_fetched_without_a_gpu_and_progress_is_told(
        self, hub: Path, scope: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.put_on_drive(hub)
        caplog.set_level("INFO")
        Scope.prepare_models()
        found = sorted(str(path.relative_to(scope)) for path in scope.rglob("*") if path.is_file())
        assert found == ["Wan2.1-T2V-1.3B/config.json", "Wan2.1-T2V-1.3B/google/tokens.json", "flow/flow.pt"]
        assert "artifact 2 of 2: 1a2b3c" in caplog.text
        assert "[1/2] Downloading: config.json" in caplog.text

    def test_what_is_there_is_not_fetched_again(self, hub: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.put_on_drive(hub)
        Scope.prepare_models()
        caplog.set_level("INFO")
        Scope.prepare_models()
        assert "0 of 2 artifacts to fetch" in caplog.text

    def test_a_download_that_fails_keeps_what_has_come_and_goes_on_the_next_time(self, hub: Path, scope: Path) -> None:
        with pytest.raises(DownloadFailed, match=r"artifact 1a2b3c .* cannot be reached. What has come is kept"):
            Scope.prepare_models()
        assert (scope / "Wan2.1-T2V-1.3B" / "config.json").exists()
        self.put_on_drive(hub)
        Scope.prepare_models()
        assert (scope / "flow" / "flow.pt").exists()

    def test_an_artifact_that_lacks_a_file_is_told(self, hub: Path) -> None:
        (hub / "1a2b3c").mkdir()
        with pytest.raises(DownloadFailed, match=r"flow/flow\.pt is not among them"):
            Scope.prepare_models()

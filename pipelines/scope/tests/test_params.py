"""The light params class, and the forms that config classes make of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ai_runner_studio.tui.schema import read_fields
from runner.errors import ParamsError
from runner.live.pipelines import PipelineSpec
from runner.live.pipelines.loader import load_params_class
from scope_pipeline.form import Filled
from scope_pipeline.loading import fill
from scope_pipeline.params import DEFAULT_PROMPT, ScopeParams

pytestmark = pytest.mark.quick


class TestLightClass:
    def test_it_is_loaded_without_torch_or_scope(self) -> None:
        code = (
            "import sys, scope_pipeline.params\n"
            "heavy = {'torch', 'numpy', 'av', 'scope', 'omegaconf', 'scope_pipeline.form'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_the_runners_own_rule_for_params_modules_is_kept(self) -> None:
        spec = PipelineSpec(
            pipeline_cls="scope_pipeline.pipeline:Scope", params_cls="scope_pipeline.params:ScopeParams"
        )
        assert load_params_class(spec) is ScopeParams

    def test_the_pipeline_comes_from_the_environment_unless_it_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SCOPE_PIPELINE", raising=False)
        assert ScopeParams().pipeline == "longlive"
        monkeypatch.setenv("SCOPE_PIPELINE", "gray")
        assert ScopeParams().pipeline == "gray"
        assert ScopeParams.check({"pipeline_id": "rife"}).pipeline == "rife"

    def test_params_as_daydreamlives_runner_takes_them_are_taken(self) -> None:
        given = {"pipeline": "longlive", "prompts": ["a fox", {"text": "a bear", "weight": 30}], "seed": 7}
        params = ScopeParams.check(given)
        assert params.weighted_prompts() == [{"text": "a fox", "weight": 100.0}, {"text": "a bear", "weight": 30.0}]
        assert params.model_extra == {"base_seed": 7}

    def test_an_id_that_is_a_path_is_refused(self) -> None:
        with pytest.raises(ParamsError, match="pipeline"):
            ScopeParams.check({"pipeline": "../gray"})


@pytest.mark.usefixtures("scope")
class TestForm:
    def test_the_fields_of_the_config_class_are_fields_of_the_form_in_scopes_order(self) -> None:
        fields = {field.name: field for field in read_fields(schema(fill({"pipeline": "gray"})))}
        assert [name for name in fields if name in ("method", "strength")] == ["method", "strength"]
        strength = fields["strength"]
        assert (strength.kind, strength.title, strength.minimum, strength.maximum) == ("number", "Strength", 0, 1)
        assert strength.default == 1.0
        assert "loads the pipeline anew" in fields["method"].help

    def test_the_form_has_the_pipelines_name_and_offers_the_others(self) -> None:
        made = schema(fill({"pipeline": "gray"}))
        assert made["title"] == "Grayscale"
        assert "Takes the colour out." in made["description"]
        pipeline = next(field for field in read_fields(made) if field.name == "pipeline")
        assert pipeline.choices == ("bare", "echo-files", "gray", "passthrough", "waves")
        assert pipeline.default == "gray"

    def test_what_means_nothing_to_a_pipeline_is_not_shown(self) -> None:
        names = {field.name for field in read_fields(schema(fill({"pipeline": "gray"})))}
        assert not names & {"prompts", "input_mode", "noise_scale", "manage_cache", "base_seed"}

    def test_a_field_that_is_not_shown_is_taken_all_the_same(self) -> None:
        filled = fill({"pipeline": "gray", "base_seed": 9})
        assert filled.values["base_seed"] == 9
        assert filled.params.model_dump()["base_seed"] == 9

    def test_a_mode_brings_its_own_fields_and_defaults(self) -> None:
        text, video = fill({"pipeline": "waves"}), fill({"pipeline": "waves", "input_mode": "video"})
        assert (text.form.mode, video.form.mode) == ("text", "video")
        assert "noise_scale" not in schema(text)["properties"]
        assert schema(video)["properties"]["noise_scale"]["default"] == 0.7
        assert text.values["denoising_steps"] == [1000, 500]
        assert video.values["denoising_steps"] == [1000, 750]
        assert schema(video)["properties"]["input_mode"]["enum"] == ["text", "video"]
        assert text.params.model_dump(mode="json")["prompts"] == DEFAULT_PROMPT

    def test_the_size_is_the_streams_and_not_the_modes(self) -> None:
        filled = fill({"pipeline": "waves", "input_mode": "video", "width": 576, "height": 320})
        assert filled.params.get_output_resolution() == (576, 320)
        assert (filled.values["width"], filled.values["height"]) == (576, 320)

    @pytest.mark.parametrize(
        ("params", "reason"),
        [
            ({"pipeline": "gray", "strength": 2}, "strength: Input should be less than or equal to 1"),
            ({"pipeline": "gray", "strenght": 1}, "no such parameter; did you mean 'strength'"),
            ({"pipeline": "waves", "denoising_steps": [1, 2]}, "denoising_steps must fall"),
            ({"pipeline": "gray", "input_mode": "text"}, "no mode 'text', only video"),
            ({"pipeline": "gray", "width": 63}, "width"),
            ({"pipeline": "waves", "prompts": [{"weight": 1}]}, "prompts"),
        ],
    )
    def test_wrong_values_are_refused_with_the_reason(self, params: dict[str, object], reason: str) -> None:
        with pytest.raises(ParamsError, match=reason):
            fill(params)

    def test_what_scopes_server_takes_for_a_running_pipeline_is_taken(self) -> None:
        filled = fill({"pipeline": "waves", "kv_cache_attention_bias": 0.3, "loras": [{"path": "a"}]})
        assert filled.values["kv_cache_attention_bias"] == 0.3
        assert "loras" in filled.load_values

    def test_a_whole_form_sent_with_another_pipeline_leaves_its_defaults_behind(self) -> None:
        before = fill({"pipeline": "waves", "input_mode": "video", "base_seed": 7, "noise_scale": 0.1})
        sent = {**before.params.model_dump(mode="json"), "pipeline": "gray"}
        after = fill(sent, before)
        assert after.params.pipeline == "gray"
        assert "vae_type" not in after.values
        assert after.values["base_seed"] == 7
        assert after.values["noise_scale"] == 0.1
        assert "denoising_steps" not in after.values

    def test_single_params_for_another_pipeline_are_all_kept(self) -> None:
        before = fill({"pipeline": "gray"})
        assert fill({"pipeline": "waves", "denoising_steps": [1000, 500]}, before).values["denoising_steps"] == [
            1000,
            500,
        ]
        with pytest.raises(ParamsError, match="no such parameter"):
            fill({"pipeline": "waves", "strength": 1}, before)


def schema(filled: Filled) -> dict[str, object]:
    return type(filled.params).model_json_schema()


def test_folders_are_below_model_dir_unless_scopes_own_variables_say_otherwise(tmp_path: Path) -> None:
    from scope_pipeline.folders import use_model_folders

    environ = {"MODEL_DIR": str(tmp_path), "DAYDREAM_SCOPE_PLUGINS_DIR": "/elsewhere"}
    assert use_model_folders(environ) == tmp_path / "Scope--models"
    assert environ["DAYDREAM_SCOPE_MODELS_DIR"] == str(tmp_path / "Scope--models")
    assert environ["DAYDREAM_SCOPE_DIR"] == str(tmp_path / "Scope")
    assert environ["DAYDREAM_SCOPE_PLUGINS_DIR"] == "/elsewhere"

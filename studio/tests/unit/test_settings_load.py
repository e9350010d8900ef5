"""Settings out of flags, environment and pyproject.toml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ai_runner_studio.errors import SettingsError, UsageError
from ai_runner_studio.settings import Settings
from ai_runner_studio.settings_load import gather, run_settings, studio_settings

PIPELINE = {"pipeline-import": "effects:Blur"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(f"[tool.ai-runner-studio]\n{text}\n")


def studio(project: Path, environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    return studio_settings(gather(PIPELINE | named, environ or {}, project))


def headless(project: Path, environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    return run_settings(gather(PIPELINE | {"input": "clip.mp4"} | named, environ or {}, project))


def test_links_on_the_projects_path_are_kept(project: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(project)
    write(project, "theme = 'light'")
    (project / "inside").mkdir()
    named = {
        folder: gather({**PIPELINE, "project": folder}, {}, tmp_path) for folder in ("current", "current/inside/..")
    }
    assert [studio_settings(given).project for given in named.values()] == [tmp_path / "current", project]
    assert studio(tmp_path / "current").project == tmp_path / "current"


class TestWhoWins:
    def test_flag_over_environment_over_file(self, project: Path) -> None:
        write(project, "preview-fps = 5\ntheme = 'file'\ninput = 'pattern'")
        settings = studio(
            project, {"AI_RUNNER_STUDIO_PREVIEW_FPS": "10", "AI_RUNNER_STUDIO_THEME": "env"}, theme="flag"
        )
        assert (settings.theme, settings.preview_fps, settings.input) == ("flag", 10.0, "pattern")

    def test_a_flag_that_was_not_given_does_not_win(self, project: Path) -> None:
        write(project, "loop = false\nwatch = ['a.txt']")
        settings = studio(project, loop=None, watch=[])
        assert settings.loop is False
        assert settings.watch == (str(project / "a.txt"),)

    def test_the_networks_variables_name_the_pipeline(self, project: Path) -> None:
        environ = {"PIPELINE_IMPORT": "a:B", "PARAMS_IMPORT": "a:C"}
        settings = studio_settings(gather({}, environ, project))
        assert (settings.pipeline_import, settings.params_import) == ("a:B", "a:C")

    def test_the_studios_own_variable_wins_over_the_networks(self, project: Path) -> None:
        environ = {"PIPELINE_IMPORT": "a:B", "AI_RUNNER_STUDIO_PIPELINE_IMPORT": "c:D"}
        assert studio_settings(gather({}, environ, project)).pipeline_import == "c:D"

    def test_without_a_pipeline_the_ways_to_name_one_are_said(self, project: Path) -> None:
        with pytest.raises(UsageError, match="no pipeline is named") as caught:
            studio_settings(gather({}, {}, project))
        assert "--pipeline-import" in caught.value.hint
        assert caught.value.exit_code == 2


class TestEnvironment:
    @pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("No", False), ("off", False)])
    def test_yes_and_no_in_several_spellings(self, project: Path, text: str, value: bool) -> None:
        assert studio(project, {"AI_RUNNER_STUDIO_RELOAD": text}).reload is value

    @pytest.mark.parametrize(
        ("variable", "text", "allowed"),
        [
            ("AI_RUNNER_STUDIO_LOOP", "perhaps", "true or false"),
            ("AI_RUNNER_STUDIO_PREVIEW_FPS", "fast", "a number above 0"),
            ("AI_RUNNER_STUDIO_PREVIEW_FPS", "-1", "a number above 0"),
            ("AI_RUNNER_STUDIO_PREVIEW", "ascii", "one of auto, kitty, sixel, blocks, text"),
            ("AI_RUNNER_STUDIO_REPLACE", "swap", "one of auto, overlap, hand-over"),
            ("AI_RUNNER_STUDIO_STANDBY_RESERVE", "0", "a whole number above 0"),
            ("AI_RUNNER_STUDIO_KEEP_WEIGHTS", "maybe", "true or false"),
            ("AI_RUNNER_STUDIO_ROUTE", "webrtc", "one of direct, trickle"),
            ("AI_RUNNER_STUDIO_MAX_FPS", "-1", "a number above 0, or 0 for no limit"),
            ("AI_RUNNER_STUDIO_MAX_FPS", "nan", "a number above 0, or 0 for no limit"),
            ("AI_RUNNER_STUDIO_HARDWARE", "gpu", "one of auto, hardware, software"),
            ("AI_RUNNER_STUDIO_FRAMES", "1.5", "a whole number above 0"),
            ("AI_RUNNER_STUDIO_PARAMS", "[1]", "a JSON object"),
        ],
    )
    def test_a_wrong_value_is_refused_with_what_is_allowed(
        self, project: Path, variable: str, text: str, allowed: str
    ) -> None:
        with pytest.raises(SettingsError, match=variable) as caught:
            studio(project, {variable: text})
        assert caught.value.hint == f"it must be {allowed}"


class TestReloading:
    def test_by_default_all_that_makes_it_quick_is_on(self, project: Path) -> None:
        settings = studio(project)
        assert (settings.keep_weights, settings.standby, settings.standby_reserve_mb) == (True, True, 1024)
        assert (settings.reload, settings.replace) == (True, "auto")

    def test_flags_environment_and_file_say_how(self, project: Path) -> None:
        write(project, "standby-reserve = 2048\nreplace = 'overlap'\nstandby = true")
        environ = {"AI_RUNNER_STUDIO_REPLACE": "hand-over", "AI_RUNNER_STUDIO_STANDBY": "no"}
        settings = studio(project, environ, keep_weights=False)
        assert (settings.keep_weights, settings.standby, settings.standby_reserve_mb) == (False, False, 2048)
        assert settings.replace == "hand-over"

    def test_functions_that_need_no_proof_are_named_anywhere(self, project: Path) -> None:
        write(project, "in-place = ['a.b:C.f']")
        assert studio(project).in_place == ("a.b:C.f",)
        assert studio(project, {"AI_RUNNER_STUDIO_IN_PLACE": "a:f, b:g"}).in_place == ("a:f", "b:g")
        assert studio(project, in_place=["c:h"]).in_place == ("c:h",)

    @pytest.mark.parametrize("flags", [{"replace": "swap"}, {"standby_reserve": -1}, {"in_place": ["no.colon"]}])
    def test_a_wrong_flag_is_refused(self, project: Path, flags: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"--(replace|standby-reserve|in-place) is"):
            studio(project, **flags)

    def test_a_run_passes_over_them_in_the_file(self, project: Path) -> None:
        write(project, "keep-weights = true\nstandby-reserve = 10")
        assert headless(project).reload is False


class TestRoute:
    def test_by_default_there_is_none_and_its_limits_are_the_networks(self, project: Path) -> None:
        settings = studio(project)
        assert (settings.route, settings.max_fps, settings.hardware) == ("direct", 24.0, "auto")

    def test_flags_environment_and_file_say_how(self, project: Path) -> None:
        write(project, "route = 'trickle'\nmax-fps = 30\nhardware = 'software'")
        settings = studio(project, {"AI_RUNNER_STUDIO_MAX_FPS": "0"}, hardware="hardware")
        assert (settings.route, settings.max_fps, settings.hardware) == ("trickle", 0.0, "hardware")

    @pytest.mark.parametrize("flags", [{"route": "webrtc"}, {"max_fps": -1.0}, {"hardware": "gpu"}])
    def test_a_wrong_flag_is_refused(self, project: Path, flags: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"--(route|max-fps|hardware) is"):
            headless(project, **flags)

    def test_a_run_by_trickle_is_always_at_the_inputs_pace(self, project: Path) -> None:
        settings = headless(project, route="trickle")
        assert (settings.route, settings.lossless, settings.paced) == ("trickle", False, True)


class TestPaths:
    def test_paths_of_flags_start_at_the_working_directory(self, project: Path) -> None:
        (project / "pyproject.toml").write_text("[tool.ai-runner-studio]\n")
        inner = project / "inner"
        inner.mkdir()
        settings = studio_settings(gather(PIPELINE | {"python": "env/bin/python", "watch": ["*.txt"]}, {}, inner))
        assert settings.python == str(inner / "env/bin/python")
        assert settings.watch == (str(inner / "*.txt"),)
        assert settings.project == project

    def test_paths_of_the_file_start_at_its_folder(self, project: Path) -> None:
        write(project, "python = 'env'\nwatch = ['shaders']\ninput = 'clips/a.mp4'")
        (project / "clips").mkdir()
        (project / "clips" / "a.mp4").touch()
        inner = project / "inner"
        inner.mkdir()
        settings = studio_settings(gather(PIPELINE, {}, inner))
        assert (settings.python, settings.python_configured) == (None, str(project / "env"))
        assert settings.watch == (str(project / "shaders"),)
        assert settings.input == str(project / "clips" / "a.mp4")

    def test_watch_of_file_and_flag_add_up(self, project: Path) -> None:
        write(project, "watch = ['a', 'b']")
        assert studio(project, watch=["c", "a"]).watch == tuple(str(project / name) for name in ("c", "a", "b"))

    def test_the_project_is_the_working_directory_without_a_settings_file(self, project: Path) -> None:
        (project.parent / "pyproject.toml").write_text("[project]\nname = 'another'\n")
        assert studio(project).project == project

    def test_the_project_can_be_named(self, project: Path) -> None:
        write(project, "theme = 'mine'")
        settings = studio_settings(gather(PIPELINE | {"project": "project"}, {}, project.parent))
        assert (settings.project, settings.theme) == (project, "mine")

    def test_a_project_that_is_no_folder_is_refused(self, project: Path) -> None:
        with pytest.raises(SettingsError, match="is not a folder"):
            studio_settings(gather(PIPELINE | {"project": "nowhere"}, {}, project))


class TestParams:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("strength=0.5", ("strength", 0.5)),
            ("on=true", ("on", True)),
            ("name=blue", ("name", "blue")),
            ('name="0.5"', ("name", "0.5")),
            ("colour=[1, 2, 3]", ("colour", [1, 2, 3])),
            ("formula=a=b", ("formula", "a=b")),
            ("empty=", ("empty", "")),
        ],
    )
    def test_values_are_json_where_they_can_be(self, project: Path, text: str, expected: tuple[str, Any]) -> None:
        settings = studio(project, param=[text])
        assert settings.params == dict([expected])
        assert settings.typed_params == dict([text.split("=", 1)])

    @pytest.mark.parametrize("text", ["strength", "=1", ""])
    def test_without_name_or_equals_sign_it_is_refused(self, project: Path, text: str) -> None:
        with pytest.raises(UsageError, match="key=value"):
            studio(project, param=[text])

    def test_param_over_params_file_over_settings_file(self, project: Path) -> None:
        write(project, "[tool.ai-runner-studio.params]\na = 1\nb = 1\nc = 1")
        (project / "params.json").write_text(json.dumps({"b": 2, "c": 2}))
        assert studio(project, params_file="params.json", param=["c=3"]).params == {"a": 1, "b": 2, "c": 3}

    @pytest.mark.parametrize(
        ("content", "said"), [(None, "No such file"), ("{a: 1}", "not valid JSON: .*line 1"), ("[1]", "no JSON object")]
    )
    def test_a_params_file_that_cannot_be_used_is_named(self, project: Path, content: str | None, said: str) -> None:
        if content is not None:
            (project / "params.json").write_text(content)
        with pytest.raises(UsageError, match=said) as caught:
            studio(project, params_file="params.json")
        assert str(project / "params.json") in str(caught.value)


class TestRun:
    def test_without_realtime_nothing_is_lost_and_nothing_paced(self, project: Path) -> None:
        settings = headless(project)
        assert (settings.lossless, settings.paced, settings.loop, settings.reload) == (True, False, False, False)

    def test_realtime_is_paced_and_the_newest_frame_wins(self, project: Path) -> None:
        settings = headless(project, realtime=True)
        assert (settings.lossless, settings.paced) == (False, True)

    def test_a_live_input_is_never_made_to_wait(self, project: Path) -> None:
        assert headless(project, input="webcam:1", frames=10).lossless is False

    @pytest.mark.parametrize(
        "flags", [{"input": "pattern"}, {"input": "webcam"}, {"input": "rtsp://a/b"}, {"loop": True}]
    )
    def test_what_has_no_end_needs_a_limit(self, project: Path, flags: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="has no end") as caught:
            headless(project, **flags)
        assert "--frames" in caught.value.hint
        assert headless(project, frames=3, **flags).frames == 3
        assert headless(project, duration=0.5, **flags).duration_s == 0.5

    @pytest.mark.parametrize(
        ("output", "said"),
        [("", "is a folder"), ("video", "no suffix"), ("nowhere/a.mp4", "no folder"), ("clip.mp4", "the input itself"),
         ("out.xyz", "ending in .xyz cannot be written"), ("OUT.MP3", "cannot be written")],
    )  # fmt: skip
    def test_an_output_that_cannot_be_written_is_refused_before_the_run(
        self, project: Path, output: str, said: str
    ) -> None:
        (project / "clip.mp4").touch()
        with pytest.raises(UsageError, match=said):
            headless(project, input=str(project / "clip.mp4"), output=str(project / output))

    @pytest.mark.parametrize("address", ["rtmp://user:secret@host/live/key", "srt://host:9", "http://host/x.mp4"])
    def test_an_output_that_is_an_address_is_refused_without_its_secrets(self, project: Path, address: str) -> None:
        for given in (address, str(Path(address))):  # as the command line gives it
            with pytest.raises(UsageError, match="run writes files, not streams") as caught:
                headless(project, input="pattern", frames=3, output=given)
            assert "host" not in f"{caught.value} {caught.value.hint}"

    @pytest.mark.parametrize("text", ["", "  "])
    def test_an_empty_input_is_refused_and_no_input_is_the_default(self, project: Path, text: str) -> None:
        with pytest.raises(UsageError, match="--input is empty"):
            headless(project, input=text)
        assert headless(project).input

    @pytest.mark.parametrize("flags", [{"frames": 0}, {"duration": -1.0}])
    def test_a_limit_of_nothing_is_refused(self, project: Path, flags: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"is (0|-1)"):
            headless(project, **flags)

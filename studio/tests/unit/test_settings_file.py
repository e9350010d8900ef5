"""``[tool.ai-runner-studio]`` in pyproject.toml, and every way in which it can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ai_runner_studio.errors import SettingsError
from ai_runner_studio.settings_file import find_settings_file


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


class TestFinding:
    def test_the_nearest_file_with_our_table_is_taken(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[tool.ai-runner-studio]\ninput = 'webcam'\n")
        write(tmp_path / "member", "[project]\nname = 'member'\n")
        found = find_settings_file(tmp_path / "member")
        assert found is not None
        assert (found.path, found.values) == (path, {"input": "webcam"})

    def test_without_our_table_there_is_none(self, tmp_path: Path) -> None:
        write(tmp_path, "[project]\nname = 'a'\n")
        assert find_settings_file(tmp_path) is None

    def test_params_are_a_table_of_their_own(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.ai-runner-studio]\nloop = true\n[tool.ai-runner-studio.params]\nstrength = 0.5\n")
        found = find_settings_file(tmp_path)
        assert found is not None
        assert found.values == {"loop": True, "params": {"strength": 0.5}}


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "said", "hint"),
        [
            ("inptu = 'a'", ":3: .* no key 'inptu'", "did you mean 'input'"),
            ("preview_fps = 3", ":3: .* no key 'preview_fps'", "did you mean 'preview-fps'"),
            ("project = '.'", ":3: .* no key 'project'", "allowed: pipeline-import"),
            ("preview-fps = 'fast'", ":3: 'preview-fps' .* is 'fast'", "a number above 0"),
            ("preview-fps = 0", ":3: 'preview-fps'", "a number above 0"),
            ("loop = 1", ":3: 'loop'", "true or false"),
            ("watch = 'a'", ":3: 'watch'", "a list of strings"),
            ("preview = 'ascii'", ":3: 'preview'", "one of auto, kitty"),
            ("input = ['a']", ":3: 'input'", "a string"),
            ("params = 3", ":3: 'params'", "a table"),
            ("frames = true", ":3: 'frames'", "a whole number"),
        ],
    )
    def test_file_line_key_and_what_is_allowed_are_said(self, tmp_path: Path, line: str, said: str, hint: str) -> None:
        path = write(tmp_path, f"[tool.ai-runner-studio]\n# a comment\n{line}\n")
        with pytest.raises(SettingsError, match=said) as caught:
            find_settings_file(tmp_path)
        assert str(path) in str(caught.value)
        assert hint in caught.value.hint

    def test_a_line_of_another_table_is_not_blamed(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool.other]\nloop = 1\n\n[tool.ai-runner-studio]\nloop = 1\n")
        with pytest.raises(SettingsError, match="toml:5:"):
            find_settings_file(tmp_path)

    def test_invalid_toml_names_the_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[tool.ai-runner-studio]\ninput = \n")
        with pytest.raises(SettingsError, match="line 2") as caught:
            find_settings_file(tmp_path)
        assert str(path) in str(caught.value)

    def test_a_table_that_is_none_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, "[tool]\nai-runner-studio = 3\n")
        with pytest.raises(SettingsError, match="must be a table"):
            find_settings_file(tmp_path)

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SettingsError, match="not UTF-8"):
            find_settings_file(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, "").chmod(0)
        with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
            find_settings_file(tmp_path)

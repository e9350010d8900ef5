"""Settings of an image: flag over environment over table, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ai_runner_studio.errors import UsageError
from ai_runner_studio.export.image_settings import ImageSettings, image_settings
from ai_runner_studio.settings_load import gather

PIPELINE = {"pipeline-import": "my_pipeline:P"}


def settings(folder: Path, table: str = "", environ: dict[str, str] | None = None, **flags: Any) -> ImageSettings:
    if table:
        (folder / "pyproject.toml").write_text(f"[tool.ai-runner-studio.image]\n{table}\n")
    given = gather(PIPELINE, environ or {}, folder)
    return image_settings(given, {name.replace("_", "-"): value for name, value in flags.items()}, environ or {})


class TestOrder:
    def test_without_any_the_project_decides(self, tmp_path: Path) -> None:
        made = settings(tmp_path)
        assert (made.base, made.torch, made.platform, made.offline) == ("", "", "linux/amd64", False)
        assert made.run.pipeline_import == "my_pipeline:P"

    def test_a_flag_wins_over_the_environment_and_that_over_the_table(self, tmp_path: Path) -> None:
        table, variable = 'torch = "cpu"', {"AI_RUNNER_STUDIO_IMAGE_TORCH": "cu128"}
        assert settings(tmp_path, table).torch == "cpu"
        assert settings(tmp_path, table, variable).torch == "cu128"
        assert settings(tmp_path, table, variable, torch="cu130").torch == "cu130"

    def test_everything_that_a_project_can_say(self, tmp_path: Path) -> None:
        (tmp_path / "more.dockerfile").write_text("# a comment\nRUN echo two\n")
        made = settings(
            tmp_path,
            """
            name = "tint"
            base = "localhost/base:1"
            apt = ["sox", "libgl1", "sox"]
            steps = ["RUN echo one"]
            dockerfile-append = "more.dockerfile"
            offline = true
            env = { OMP_NUM_THREADS = 4, FAST = true }
            labels = { team = "video" }
            """,
        )
        assert made.apt == ("libgl1", "sox")
        assert made.steps == ("RUN echo one", "RUN echo two")
        assert made.environment == {"OMP_NUM_THREADS": "4", "FAST": "true"}
        assert (made.name, made.base, made.offline, made.labels) == (
            "tint",
            "localhost/base:1",
            True,
            {"team": "video"},
        )


class TestMistakes:
    @pytest.mark.parametrize(
        ("table", "said", "hint"),
        [
            ('bas = "a"', "has no key 'bas'", "did you mean 'base'"),
            ("apt = 'sox'", "'apt' is 'sox'", "a list of strings"),
            ("apt = ['a b; rm']", "apt is 'a b; rm'", "Debian packages"),
            ("torch = 'gpu'", "--torch is 'gpu'", "cu130"),
            ("python-version = '2.7'", "--python-version is '2.7'", "3.11"),
            ("platform = 'windows'", "'platform' is 'windows'", "linux/amd64"),
            ("base = 'a b'", "--base is 'a b'", "image reference"),
            ("name = 'Tint'", "--name is 'Tint'", "lower-case"),
            ("env = { HF_TOKEN = 'x' }", "HF_TOKEN, which sounds like a secret", "when it is started"),
            ("env = { A = [1] }", r"A is \[1\]", "one line"),
            ("steps = ['FROM x']", "'FROM' cannot be added", "RUN, ENV, LABEL"),
        ],
    )
    def test_the_table(self, tmp_path: Path, table: str, said: str, hint: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            settings(tmp_path, table)
        assert hint in caught.value.hint

    def test_the_environment(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="AI_RUNNER_STUDIO_IMAGE_OFFLINE is 'perhaps'"):
            settings(tmp_path, environ={"AI_RUNNER_STUDIO_IMAGE_OFFLINE": "perhaps"})

    def test_a_flag(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--platform is 'mac'"):
            settings(tmp_path, platform="mac")

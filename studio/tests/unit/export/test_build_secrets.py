"""A build asks the package indexes that pip asks here: all files, variables and lines, in secrets alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_runner_studio.export import index_settings
from ai_runner_studio.export.build_secrets import build_secrets, pip_options
from ai_runner_studio.export.index_settings import exports

FILE = """
[global]
index_url = https://first.example/simple
extra-index-url =
    https://a:p%40ss@second.example/simple
    # one in between
    https://third.example/simple?a=b&c='d'
[install]
index-url = https://install.example/simple
"""


def in_a_shell(exported: str, variable: str) -> str:
    script = f'{exported}printf %s "${variable}"'
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True, env={}).stdout


class TestInsideTheBuild:
    def test_several_lines_are_one_list_and_the_section_of_install_comes_first(self) -> None:
        assert in_a_shell(exports(FILE), "UV_DEFAULT_INDEX") == "https://install.example/simple"
        assert in_a_shell(exports(FILE), "UV_INDEX") == (
            "https://a:p%40ss@second.example/simple https://third.example/simple?a=b&c='d'"
        )

    @pytest.mark.parametrize("text", ["", "[global]\n", "[global]\ntimeout = 5\n[freeze]\nindex-url = https://a\n"])
    def test_a_file_without_an_index_sets_nothing(self, text: str) -> None:
        assert exports(text) == ""

    def test_it_runs_in_any_python(self, tmp_path: Path) -> None:
        (tmp_path / "pip.conf").write_text("[global]\ntrusted-host = a.example b.example\n")
        command = [sys.executable, "-IS", index_settings.__file__, str(tmp_path / "pip.conf")]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
            "export UV_INSECURE_HOST='a.example b.example'\n"
        )


class TestOnThisMachine:
    def test_variables_come_before_files_and_sections_in_their_order(self) -> None:
        listed = (
            ":env:.index-url='https://variable/'\n:env:.extra-index-url=''\nglobal.extra-index-url='\\nhttps://a/\\nhttps://b/'\n"
            "global.index-url='https://global/'\ninstall.index-url='https://install/'\nfreeze.index-url='https://freeze/'\n"
        )
        assert pip_options(listed) == {
            "index-url": "https://variable/",
            "extra-index-url": "\nhttps://a/\nhttps://b/",
        }

    def test_pips_files_and_variables_reach_the_build_in_a_file_that_is_gone_afterwards(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        old, new, bundle = tmp_path / ".pip/pip.conf", tmp_path / "pip/pip.conf", tmp_path / "ca.pem"
        for file, text in ((old, FILE), (new, f"[global]\ncert = {bundle}\n"), (bundle, "")):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@variable.example/simple")
        with build_secrets(sys.executable, tmp_path, os.environ) as flags:
            first, second = flags
            file = Path(first.removeprefix("--secret=id=pip_conf,src="))
            found = exports(file.read_text())
            assert file.stat().st_mode & 0o777 == 0o600
        assert second == f"--secret=id=ca_bundle,src={bundle}"
        assert in_a_shell(found, "UV_DEFAULT_INDEX") == "https://me:secret@variable.example/simple"
        assert in_a_shell(found, "UV_INDEX").split()[1].startswith("https://third.example/")
        assert not file.exists()

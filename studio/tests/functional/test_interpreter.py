"""Which interpreter is found, and what is said of one that does not do; with real interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import runner
from ai_runner_studio.errors import InterpreterError
from ai_runner_studio.interpreter import Interpreter, check_interpreter, find_interpreter

posix_only = pytest.mark.skipif(os.name == "nt", reason="uses shell scripts")


@pytest.fixture(autouse=True)
def _no_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def empty_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    folder = tmp_path_factory.mktemp("project") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def python_of(env: Path) -> str:
    return str(env / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


class TestFinding:
    def test_the_one_asked_for_comes_first(
        self, empty_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIRTUAL_ENV", str(empty_env))
        found = find_interpreter(sys.executable, empty_env.parent, str(empty_env))
        assert (found.path, found.reason) == (sys.executable, "--python")
        assert tmp_path.is_dir()

    def test_a_folder_stands_for_the_python_in_it(self, empty_env: Path, tmp_path: Path) -> None:
        assert find_interpreter(str(empty_env), tmp_path).path == python_of(empty_env)

    def test_then_the_settings_file(self, empty_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
        found = find_interpreter(None, tmp_path, str(empty_env))
        assert (found.path, found.reason) == (python_of(empty_env), "pyproject.toml")

    @pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
    def test_then_the_active_environment(
        self, empty_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, str(empty_env))
        found = find_interpreter(None, tmp_path)
        assert (found.path, found.reason) == (python_of(empty_env), f"active environment ({variable})")

    def test_then_the_nearest_environment_upward(self, empty_env: Path) -> None:
        inner = empty_env.parent / "a" / "b"
        inner.mkdir(parents=True, exist_ok=True)
        found = find_interpreter(None, inner)
        assert (found.path, found.reason) == (python_of(empty_env), f"nearest .venv, in {empty_env.parent}")

    def test_then_the_studios_own(self, tmp_path: Path) -> None:
        assert find_interpreter(None, tmp_path) == Interpreter(sys.executable, "the studio's own")

    def test_an_active_environment_that_is_gone_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "gone"))
        assert find_interpreter(None, tmp_path).path == sys.executable

    @pytest.mark.parametrize(("name", "said"), [("missing", "there is no file"), ("", "no Python in the folder")])
    def test_a_path_that_is_no_python_is_refused(self, tmp_path: Path, name: str, said: str) -> None:
        with pytest.raises(InterpreterError, match=said) as caught:
            find_interpreter(str(tmp_path / name), tmp_path)
        assert caught.value.exit_code == 2


class TestChecking:
    def test_the_studios_own_is_not_started(self, tmp_path: Path) -> None:
        checked = check_interpreter(Interpreter(sys.executable, "own"), tmp_path / "no folder to start it in")
        assert checked.version == ".".join(map(str, sys.version_info[:3]))

    def test_one_that_has_the_runner_is_good(
        self, empty_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = str(Path(runner.__file__).parents[1])
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, sysconfig.get_path("purelib")]))
        checked = check_interpreter(Interpreter(python_of(empty_env), "--python"), tmp_path)
        assert checked.version == ".".join(map(str, sys.version_info[:3]))

    def test_without_the_runner_the_install_command_is_said(self, empty_env: Path, tmp_path: Path) -> None:
        python = python_of(empty_env)
        with pytest.raises(InterpreterError, match=f"{python} has no ai-runner-base") as caught:
            check_interpreter(Interpreter(python, "--python"), tmp_path)
        assert caught.value.hint == f"install it: {python} -m pip install ai-runner-base"

    def test_another_package_of_that_name_is_told_apart(self, empty_env: Path, tmp_path: Path) -> None:
        (tmp_path / "runner").mkdir()
        (tmp_path / "runner" / "__init__.py").write_text("__version__ = '9.9'\n")
        with pytest.raises(InterpreterError, match=r"'runner' it has, .*__init__\.py, is another one"):
            check_interpreter(Interpreter(python_of(empty_env), "--python"), tmp_path)

    def test_a_runner_of_another_version_is_refused(self, empty_env: Path, tmp_path: Path) -> None:
        for name in ("runner/__init__", "runner/live/__init__", "runner/live/infer", "runner/live/events"):
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("__version__ = '9.9.1'\n")
        with pytest.raises(InterpreterError, match=r"has ai-runner-base 9\.9\.1, this studio needs") as caught:
            check_interpreter(Interpreter(python_of(empty_env), "--python"), tmp_path)
        assert "pip install ai-runner-base~=" in caught.value.hint

    @posix_only
    def test_an_old_python_is_refused(self, tmp_path: Path) -> None:
        answer = '{"python": [3, 8, 1], "runner": null, "file": null, "ours": false}'
        old = script(tmp_path / "python3.8", f"echo '{answer}'")
        with pytest.raises(InterpreterError, match=r"is Python 3\.8\.1"):
            check_interpreter(Interpreter(old, "--python"), tmp_path)

    @posix_only
    @pytest.mark.parametrize(("text", "said"), [("exit 0", "no output"), ("echo broken >&2; exit 3", "broken")])
    def test_a_program_that_is_no_python_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        program = script(tmp_path / "program", text)
        with pytest.raises(InterpreterError, match=f"does not work as a Python .*{said}"):
            check_interpreter(Interpreter(program, "--python"), tmp_path)

    @posix_only
    def test_one_that_hangs_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ai_runner_studio.interpreter.CHECK_TIMEOUT_S", 0.2)
        with pytest.raises(InterpreterError, match="gave no answer"):
            check_interpreter(Interpreter(script(tmp_path / "hang", "exec sleep 30"), "--python"), tmp_path)

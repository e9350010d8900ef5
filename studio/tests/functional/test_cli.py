"""The command line as a process: what it prints, what it loads, how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "ai_runner_studio"]
HEAVY = ("textual", "numpy", "av", "torch", "cv2", "httpx", "pydantic", "watchfiles", "rich", "asyncio", "PIL")
PATIENCE_S = 60.0


def cli(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if "_IMPORT" not in key and "AI_RUNNER" not in key}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=clean | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class TestImports:
    @pytest.mark.parametrize(
        ("arguments", "allowed"),
        [
            (["--help"], []),
            (["--version"], []),
            # typer converts the values of flags with pydantic
            (["run", "--help"], ["pydantic"]),
            (["samples"], ["pydantic"]),
            (["cameras"], ["pydantic"]),
            (["relay", "--help"], ["pydantic"]),
            (["export-image", "--help"], ["pydantic"]),
        ],
    )
    def test_light_commands_load_nothing_heavy(self, tmp_path: Path, arguments: list[str], allowed: list[str]) -> None:
        script = (
            "import sys\n"
            "from ai_runner_studio.__main__ import run\n"
            f"code = run({arguments!r})\n"
            f"loaded = [name for name in {HEAVY!r} if name in sys.modules and name not in {allowed!r}]\n"
            "sys.stderr.write(repr(loaded))\n"
            "sys.exit(code)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "[]")
        assert done.stdout


class TestHelp:
    @pytest.mark.quick
    def test_flags_commands_and_exit_codes_are_there(self, tmp_path: Path) -> None:
        done = cli("--help", cwd=tmp_path)
        assert done.returncode == 0
        for word in (
            "--pipeline-import",
            "--preview-fps",
            "--no-reload",
            "run",
            "samples",
            "cameras",
            "relay",
            "export-image",
            "Exit codes: 0",
        ):
            assert word in done.stdout

    def test_a_runs_help_tells_of_its_own_flags(self, tmp_path: Path) -> None:
        done = cli("run", "--help", cwd=tmp_path)
        assert done.returncode == 0
        for word in (
            "--output",
            "--json",
            "--duration",
            "--frames",
            "--realtime",
            "--loop",
            "--route",
            "--max-fps",
            "--hardware",
        ):
            assert word in done.stdout
        assert "--preview" not in done.stdout

    @pytest.mark.quick
    def test_the_version_names_studio_runner_and_python(self, tmp_path: Path) -> None:
        done = cli("--version", cwd=tmp_path)
        assert re.fullmatch(r"ai-runner-studio \S+ \(ai-runner-base \S+, Python 3\.\S+\)\n", done.stdout)


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("ai-runner-studio --preview s", ["sixel"]),
            ("ai-runner-studio run --input web", ["webcam"]),
            ("ai-runner-studio --input pat", ["pattern"]),
            ("ai-runner-studio sam", ["samples"]),
            ("ai-runner-studio run --route t", ["trickle"]),
        ],
    )
    def test_the_shell_is_offered_what_fits(self, tmp_path: Path, words: str, expected: list[str]) -> None:
        position = str(len(words.split()) - 1)
        environ = {"_AI_RUNNER_STUDIO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        assert cli(cwd=tmp_path, **environ).stdout.split() == expected


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "no pipeline is named"),
            (["run"], "no pipeline is named"),
            (["run", "a:B", "--frames", "many"], "--frames"),
            (["--nonsense"], "--nonsense"),
            (["smaples"], "samples"),
            (["run", "--pipeline-import", "a:B", "--input", "nothing.mp4"], "there is no such file"),
            (["run", "--pipeline-import", "a:B", "--input", "pattern"], "has no end"),
            (["run", "--pipeline-import", "a:B", "--frames", "0", "--input", "pattern"], "--frames is 0"),
            (["run", "--pipeline-import", "a:B", "--param", "x", "--frames", "1"], "key=value"),
            (["run", "--pipeline-import", "nocolon", "--input", "pattern", "--frames", "1"], "nocolon"),
            (["run", "--pipeline-import", "a:B", "--input", "pattern", "--frames", "1", "--python", "no"], "no file"),
            (["--pipeline-import", "a:B", "--preview", "ascii"], "--preview is 'ascii'"),
            (["run", "a:B", "--input", "pattern", "--frames", "1", "--route", "webrtc"], "--route is 'webrtc'"),
            (["relay", "--channel", "a/b"], "--channel 'a/b'"),
            (["a:B"], "stdin is not a terminal"),
            (["a:B", "--input", "pattern"], "stdin is not a terminal"),
            (["--input", "pattern", "a:B"], "stdin is not a terminal"),
        ],
    )
    def test_it_exits_with_2_a_message_and_no_traceback(self, tmp_path: Path, arguments: list[str], said: str) -> None:
        done = cli(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_a_wrong_settings_file_is_named_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[tool.ai-runner-studio]\nlopo = true\n")
        done = cli("run", cwd=tmp_path)
        assert done.returncode == 2
        assert f"error: {tmp_path}/pyproject.toml:2: [tool.ai-runner-studio] has no key 'lopo'" in done.stderr
        assert "hint: did you mean 'loop'?" in done.stderr

    @pytest.mark.quick
    def test_with_json_the_reason_is_a_document_on_stdout(self, tmp_path: Path) -> None:
        done = cli("run", "--json", "--pipeline-import", "a:B", "--input", "nothing.mp4", cwd=tmp_path)
        assert done.returncode == 2
        document = json.loads(done.stdout)
        assert document["ok"] is False
        assert document["pipeline"] == "a:B"
        assert (document["error"]["kind"], document["error"]["exit_code"]) == ("usage", 2)
        assert "there is no such file" in document["error"]["message"]

    def test_flags_before_the_command_count_for_it(self, tmp_path: Path) -> None:
        done = cli("--pipeline-import", "a:B", "run", "--input", "nothing.mp4", cwd=tmp_path)
        assert "there is no such file" in done.stderr


class TestUnexpected:
    def test_an_error_nobody_thought_of_is_one_line_and_a_log_file(self, tmp_path: Path) -> None:
        broken = tmp_path / "path" / "runner.py"  # hides the real package: an import error of our own
        broken.parent.mkdir()
        broken.write_text("raise ZeroDivisionError('nobody thought of this')\n")
        environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path), "PYTHONPATH": str(broken.parent)}
        done = cli("--version", cwd=tmp_path, **environ)
        assert done.returncode == 1
        assert "error: unexpected ZeroDivisionError: nobody thought of this" in done.stderr
        assert "Traceback" not in done.stderr
        (log,) = tmp_path.rglob("errors.log")
        assert str(log) in done.stderr
        assert "Traceback" in log.read_text()

    def test_a_reader_that_goes_away_is_no_error(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            [*COMMAND, "--help"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == ""
            process.wait(PATIENCE_S)

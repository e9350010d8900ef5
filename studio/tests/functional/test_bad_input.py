"""What a user can get wrong, through the real command: an exit code, the cause, the way out, and no traceback.

Mistakes in the flags alone are in test_cli.py, failures of whole runs in test_run.py.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from terminals import ALTERNATE_SCREEN, on_terminal

COMMAND = [sys.executable, "-m", "ai_runner_studio"]
PATIENCE_S = 60.0
FULL_AT_BYTES = 256 * 1024
LARGEST_FILE_BYTES = 8 * 1024 * 1024  # counts for shared memory too, which has to have room
SOURCES = {
    "works": """
        import time
        from pydantic import ConfigDict, Field
        from runner.live.pipelines import BaseParams

        class P(BaseParams):
            model_config = ConfigDict(extra="forbid")
            strength: float = Field(default=1.0, le=2.0)
            text: str = ""

        class Plain(BaseParams):
            strength: float = 1.0

        class Slow:
            def on_ready(self, params: Plain):
                time.sleep(2 * 60)  # a run that waits for it takes too long
            def transform(self, frame, params: Plain):
                return frame

        class Helper: ...

        def effect(frame, params: P):
            return frame
    """,
    "noise": """
        import torch
        def effect(frame):
            return torch.rand_like(frame)
    """,
    "importing": "import numpyy\ndef effect(frame): return frame\n",
    "starting": """
        from runner.live.pipelines import Pipeline

        class Model(Pipeline):
            async def initialize(self, **params):
                open("weights/that/are/not/there.bin")
            async def put_video_frame(self, frame, request_id): ...
            async def get_processed_video_frame(self): ...
            async def update_params(self, **params): ...
            @classmethod
            def prepare_models(cls): ...
    """,
    "half": """
        from runner.live.pipelines import Pipeline

        class Half(Pipeline):
            async def initialize(self, **params): ...
    """,
    "framing": """
        class Mean:
            def transform(self, frame):
                scale = 1 / 0
                return frame * scale
    """,
    "shape": "def effect(frame):\n    small = frame[0, :, :, 0]\n    return small\n",
    "values": "def effect(frame):\n    return frame.tolist()\n",
    "dying": "import os\ndef effect(frame):\n    os._exit(3)\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import textwrap

    folder = tmp_path_factory.mktemp("project")
    for name, source in SOURCES.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    (folder / "notes.txt").write_text("no video in here\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    return folder


def run(folder: Path, *arguments: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if "_IMPORT" not in key and "AI_RUNNER" not in key}
    return subprocess.run(
        [*COMMAND, "run", *arguments],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=before,
    )


def assert_told(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, done.stderr
    _, _, error = done.stderr.partition("error: ")
    for part in said:
        assert part in error, done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" not in done.stdout


PATTERN = ("-i", "pattern:320x240@30", "--frames", "5")


class TestPipeline:
    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("work:effect", ["no module 'work'", "Did you mean 'works'?"]),
            ("works:effcet", ["module 'works' has no 'effcet'", "works.py", "Did you mean 'effect'?"]),
            ("works:Helper", ["works:Helper is a class of another kind", "expected a subclass of", "transform(frame, params)"]),
            ("json:decoder", ["json:decoder is of type module", "or a function (frame, params)"]),
            ("half:Half", ["is a Pipeline, but does not define get_processed_video_frame"]),
            ("importing:effect", ["ModuleNotFoundError: No module named 'numpyy'", "importing.py:1", ">    1 | import numpyy"]),
            ("starting:Model", ["at 'initialize'", "FileNotFoundError", "starting.py:6, in initialize", "weights/that"]),
            ("framing:Mean", ["ZeroDivisionError: division by zero", "framing.py:4, in transform", "scale = 1 / 0"]),
            ("shape:effect", ["shape.py:3", "(512, 512)"]),
            ("values:effect", ["values.py:2", "list"]),
            ("dying:effect", ["the pipeline process ended: exited with code 3"]),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_it_is_named_with_its_place(self, project: Path, path: str, said: list[str]) -> None:
        assert_told(run(project, "--pipeline-import", path, *PATTERN), 1, *said)

    @pytest.mark.parametrize(
        ("param", "said"),
        [
            ("strength=7", ["strength: Input should be less than or equal to 2 (got 7)"]),
            ("strength=strong", ["strength: Input should be a valid number", "(got 'strong')"]),
            ("stength=1", ["no param 'stength'", "did you mean 'strength'?"]),
            ("width=500", ["width", "500"]),
        ],
    )
    def test_params_are_named_with_value_and_reason(self, project: Path, param: str, said: list[str]) -> None:
        assert_told(run(project, "--pipeline-import", "works:effect", *PATTERN, "-p", param), 2, "'params'", *said)

    def test_a_name_that_nothing_reads_is_refused_before_the_load(self, project: Path) -> None:
        done = run(project, "--pipeline-import", "works:Slow", *PATTERN, "-p", "strenght=1")
        assert_told(done, 2, "the pipeline has no param 'strenght'", "did you mean 'strength'?")

    def test_what_a_text_field_gets_is_text(self, project: Path) -> None:
        done = run(
            project, "--pipeline-import", "works:effect", *PATTERN, "-p", "text=1.10", "-p", "strength=2", "--json"
        )
        assert done.returncode == 0, done.stderr
        params = json.loads(done.stdout)["params"]
        assert (params["text"], params["strength"]) == ("1.10", 2.0)


class TestInput:
    @pytest.mark.parametrize(
        ("source", "code", "said"),
        [
            ("empty.mp4", 2, ["empty.mp4"]),
            ("notes.txt", 2, ["notes.txt"]),
            ("note.txt", 2, ["there is no such file", "did you mean 'notes.txt'"]),
            (".", 2, ["is a folder", "name a video file in it"]),
            ("webcam:63", 2, ["there is no camera /dev/video63"]),
            ("ftp://example.org/x.mp4", 2, ["URLs of the kind 'ftp' cannot be read", "possible: http"]),
            ("http://127.0.0.1:9/x.mp4", 2, ["http://127.0.0.1:9/x.mp4"]),
            ("pattern:99999x2", 2, ["a size from 16x16 to 8192x8192"]),
            ("", 2, ["--input is empty"]),
            ("pattern:12", 2, ["not of the form pattern:WxH@FPS", "e.g. pattern:1280x720@30"]),
        ],
    )
    def test_what_cannot_be_read_is_named_before_the_load(
        self, project: Path, source: str, code: int, said: list[str]
    ) -> None:
        assert_told(run(project, "--pipeline-import", "works:Slow", "-i", source, "--frames", "5"), code, *said)


class TestOutput:
    def test_a_folder_that_is_not_there_is_named(self, project: Path) -> None:
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "-o", "no/such/out.mp4")
        assert_told(done, 2, "--output", f"{project}/no/such")

    def test_a_format_that_is_none_is_named(self, project: Path) -> None:
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "-o", "out.txt")
        assert done.returncode in (1, 2)
        assert_told(done, done.returncode, "out.txt")
        assert not list(project.glob("*out.txt*"))

    def test_a_folder_in_its_place_is_left_alone(self, project: Path) -> None:
        (project / "taken.mp4").mkdir()
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "-o", "taken.mp4")
        assert done.returncode in (1, 2)
        assert_told(done, done.returncode, "taken.mp4")
        assert (project / "taken.mp4").is_dir()
        assert not list(project.glob(".taken*"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_cannot_be_written_is_named(self, project: Path, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "-o", str(tmp_path / "out.mp4"))
        assert_told(done, 2, "--output", str(tmp_path), "Permission denied")

    def test_a_disk_that_is_full_is_the_reason_and_nothing_is_left(self, project: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path) as folder:
            done = run(
                project, "--pipeline-import", "noise:effect", "-i", "pattern", "--frames", "200",
                "-o", str(folder / "out.mp4"),
            )  # fmt: skip
            assert_told(done, 1, f"{folder}/out.mp4: the disk is full", "write to another place")
            assert os.listdir(folder) == []

    def test_a_file_that_may_not_grow_is_the_reason_and_nothing_is_left(self, project: Path) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES))

        arguments = ("--pipeline-import", "noise:effect", "-i", "pattern", "--frames", "200", "-o", "big.mp4")
        assert_told(run(project, *arguments, before=limit), 1, "big.mp4: the file has become larger than is allowed")
        assert not list(project.glob("*big.mp4*"))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system that is soon full; skips the test where none may be mounted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={FULL_AT_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[tool.ai-runner-studio\n", ["pyproject.toml is not valid TOML", "at line 1", "correct that line"]),
            ("[tool]\nai-runner-studio = 3\n", ["pyproject.toml", "ai-runner-studio"]),
            ("[tool.ai-runner-studio]\nframes = 'many'\n", ["pyproject.toml:2", "frames"]),
        ],
    )
    def test_a_file_that_cannot_be_used_is_named_with_the_line(
        self, tmp_path: Path, text: str, said: list[str]
    ) -> None:
        (tmp_path / "pyproject.toml").write_text(text)
        assert_told(run(tmp_path, *PATTERN), 2, *said)

    def test_bytes_that_are_no_text_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_bytes(b"[tool.ai-runner-studio]\ninput = '\xff\xfe'\n")
        assert_told(run(tmp_path, *PATTERN), 2, "pyproject.toml")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
    def test_a_file_that_may_not_be_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[tool.ai-runner-studio]\n")
        (tmp_path / "pyproject.toml").chmod(0)
        assert_told(run(tmp_path, *PATTERN), 2, "pyproject.toml", "Permission denied")


class TestInterpreter:
    def test_one_without_the_runner_says_how_to_install_it(self, project: Path, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "--python", str(tmp_path / "bare"))
        python = tmp_path / "bare" / "bin" / "python"
        assert_told(
            done, 2, f"{python} has no ai-runner-base", f"hint: install it: {python} -m pip install ai-runner-base"
        )

    def test_one_that_is_none_is_named(self, project: Path) -> None:
        done = run(project, "--pipeline-import", "works:effect", *PATTERN, "--python", "/bin/true")
        assert_told(done, 2, "/bin/true does not work as a Python", "--python")


class TestTerminal:
    def test_one_that_is_much_too_small_is_told_its_size(self, project: Path) -> None:
        with on_terminal("--pipeline-import", "works:effect", cwd=project, columns=40, rows=10) as command:
            assert command.wait() == 2
            written = command.written.decode()
        assert "40x10" in written
        assert "60x16" in written
        assert ALTERNATE_SCREEN.decode() not in written
        assert "Traceback" not in written


class TestBrokenPipe:
    @pytest.mark.parametrize("as_json", [["--json"], []])
    def test_a_reader_that_goes_away_is_no_error(self, project: Path, as_json: list[str]) -> None:
        process = subprocess.Popen(
            [*COMMAND, "run", "--pipeline-import", "works:effect", *PATTERN, *as_json],
            cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `head -c1` does once it has its byte
        try:
            said = process.stderr.read()
            process.wait(PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.stderr.close()
            process.wait()
        assert "Traceback" not in said
        assert "BrokenPipe" not in said
        assert "error" not in said


def test_with_json_a_load_that_fails_tells_file_line_and_code(project: Path) -> None:
    done = run(project, "--pipeline-import", "starting:Model", *PATTERN, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)["error"]["report"]
    assert (told["phase"], told["kind"], told["line"]) == ("initialize", "FileNotFoundError", 6)
    assert [line["text"].strip() for line in told["code"] if line["fault"]] == [
        'open("weights/that/are/not/there.bin")'
    ]

"""How the command line is parsed; what follows from it is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ai_runner_studio.cli.app import RunCommand, StudioGroup
from ai_runner_studio.cli.flags import Flags, RunFlags, StudioFlags, with_flags
from ai_runner_studio.errors import UsageError
from ai_runner_studio.option import OPTIONS


def parse(*arguments: str) -> tuple[str, dict[str, Any]]:
    """Name of the command that would run, and the flags that it was given."""
    seen: list[tuple[str, dict[str, Any]]] = []
    app = typer.Typer(cls=StudioGroup, invoke_without_command=True)

    @app.callback()
    @with_flags(StudioFlags)
    def studio(ctx: typer.Context, flags: StudioFlags) -> None:
        ctx.obj = flags
        if ctx.invoked_subcommand is None:
            seen.append(("studio", flags.given()))

    @app.command("run", cls=RunCommand)
    @with_flags(RunFlags)
    def run(ctx: typer.Context, flags: RunFlags) -> None:
        assert isinstance(ctx.obj, Flags)
        seen.append(("run", flags.given()))

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (call,) = seen
    return call


def test_nothing_given_is_nothing() -> None:
    assert parse() == ("studio", {})
    assert parse("run") == ("run", {})


def test_each_flag_has_the_name_of_its_option() -> None:
    name, given = parse(
        *(
            "--pipeline-import",
            "a:B",
            "--params-import",
            "a:C",
            "-p",
            "x=1",
            "--param",
            "y=2",
            "--params-file",
            "f.json",
        ),
        *("-i", "webcam", "--python", "env", "--project", "dir", "--no-loop", "-v", "--watch", "a", "--watch", "b"),
        *("--keep-weights", "--no-standby", "--standby-reserve", "512", "--replace", "hand-over"),
        *("--route", "trickle", "--max-fps", "0", "--hardware", "software"),
        *("--no-reload", "--preview", "sixel", "--preview-fps", "12.5", "--theme", "dark"),
    )
    assert name == "studio"
    assert given == {
        "pipeline-import": "a:B",
        "params-import": "a:C",
        "param": ["x=1", "y=2"],
        "params-file": "f.json",
        "input": "webcam",
        "python": "env",
        "project": "dir",
        "loop": False,
        "verbose": True,
        "watch": ["a", "b"],
        "keep-weights": True,
        "standby": False,
        "standby-reserve": 512,
        "replace": "hand-over",
        "route": "trickle",
        "max-fps": 0.0,
        "hardware": "software",
        "reload": False,
        "preview": "sixel",
        "preview-fps": 12.5,
        "theme": "dark",
    }
    assert set(given) - {"param"} <= set(OPTIONS)


def test_a_run_has_flags_of_its_own() -> None:
    words = ("run", "-o", "out.mp4", "--json", "--duration", "1.5", "--frames", "3", "--realtime", "--loop")
    given = {"output": "out.mp4", "json": True, "duration": 1.5, "frames": 3, "realtime": True, "loop": True}
    assert parse(*words) == ("run", given)
    assert set(given) <= set(OPTIONS)


@pytest.mark.parametrize(
    "words",
    [
        ["a.b:C", "--input", "pattern:64x64"],
        ["--input", "pattern:64x64", "a.b:C"],
        ["run", "a.b:C", "--input", "pattern:64x64"],
        ["run", "--input", "pattern:64x64", "a.b:C"],
    ],
)
def test_the_pipeline_can_be_named_without_its_flag(words: list[str]) -> None:
    assert parse(*words)[1] == {"pipeline-import": "a.b:C", "input": "pattern:64x64"}


def test_a_value_that_looks_the_same_is_left_alone() -> None:
    assert parse("run", "-p", "a:C", "a:C")[1] == {"param": ["a:C"], "pipeline-import": "a:C"}


def test_paths_stay_text() -> None:
    assert parse("run", "-o", str(Path("a") / "b.mp4"))[1] == {"output": str(Path("a") / "b.mp4")}


@pytest.mark.parametrize("command", [[], ["run"]])
@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("glow/pipeline.py", "--pipeline-import glow.pipeline:Glow"),
        ("./glow/effects.py", "--pipeline-import glow.effects:invert"),
        ("glow.pipeline", "--pipeline-import glow.pipeline:Glow"),
        ("glow", "--pipeline-import glow:MyPipeline"),
        ("missing.py", "--pipeline-import missing:MyPipeline"),
        ("broken.py", "--pipeline-import broken:MyPipeline"),
        ("clip.mp4", "--input clip.mp4"),
        ("notes.txt", "--input notes.txt"),
    ],
)
def test_a_pipeline_named_in_another_way_is_told_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], word: str, flags: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glow").mkdir()
    (tmp_path / "glow" / "pipeline.py").write_text(
        "class Params: ...\ndef helper(): ...\nclass Glow:\n    def transform(self, frame): ...\n"
    )
    (tmp_path / "glow" / "effects.py").write_text("def _blur(frame): ...\ndef invert(frame): ...\n")
    (tmp_path / "broken.py").write_text("def effect(frame\n")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError) as caught:
        parse(*command, word)
    assert flags in caught.value.hint


def test_a_pipeline_outside_of_the_working_directory_is_told_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "glow.py").write_text("def invert(frame): ...\n")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError) as caught:
        parse("run", "../glow.py")
    assert f"--project {tmp_path} --pipeline-import glow:invert" in caught.value.hint

"""The flags that commands share, declared once as dataclasses; typer reads them through `with_flags`.

Every flag is None when it was not given: what it then means is decided by `settings_load`, which also asks
the environment and pyproject.toml.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from ..option import HARDWARE_USE, PREVIEW_MODES, REPLACE_WAYS, ROUTES
from ..sources.names import complete_input


def _one_of(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    """What completes a flag that takes one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _show_version(asked: bool) -> None:
    if not asked:
        return
    import sys

    import runner

    from .. import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    typer.echo(f"ai-runner-studio {__version__} (ai-runner-base {runner.__version__}, Python {python})")
    raise typer.Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFlags:
    """Flags of one command."""

    def given(self) -> dict[str, Any]:
        """Option's name -> value, of the flags that were given; paths as text."""
        values = {field.name.replace("_", "-"): getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values.items()
            if name != "version" and value is not None and value not in ([], ())
        }


# What more than one command takes in the same words.
ParamsFile = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Initial params as a JSON object.")]
Python = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="The project's Python: an executable or a virtual environment's folder."),
]
Project = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder that the pipeline is imported from.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(CommandFlags):
    """What every run takes, with a screen or without."""

    pipeline_import: Annotated[
        str | None,
        typer.Option(metavar="MODULE:CLASS", help="Pipeline to run, e.g. my_pipeline.pipeline:MyPipeline."),
    ] = None
    params_import: Annotated[
        str | None,
        typer.Option(metavar="MODULE:CLASS", help="Its params class, where the pipeline does not name it itself."),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="Initial param; the value may be JSON. Repeatable."),
    ] = None
    params_file: ParamsFile = None
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="INPUT",
            help="A sample's name, a file or pipe, webcam, webcam:N, pattern, pattern:WxH@FPS, or a URL.",
            autocompletion=complete_input,
        ),
    ] = None
    python: Python = None
    project: Project = None
    loop: Annotated[bool | None, typer.Option("--loop/--no-loop", help="Begin a file again at its end.")] = None
    load_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long the pipeline may take to load.")
    ] = None
    route: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(ROUTES),
            help="trickle: by a local relay, there and back, as in production; always at the input's pace.",
            autocompletion=_one_of(ROUTES),
        ),
    ] = None
    max_fps: Annotated[
        float | None,
        typer.Option(
            metavar="FPS", help="Pictures per second that the trickle route lets in (24, as in production); 0: all."
        ),
    ] = None
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(HARDWARE_USE),
            help="Whether the GPU decodes and encodes on the trickle route.",
            autocompletion=_one_of(HARDWARE_USE),
        ),
    ] = None
    verbose: Annotated[
        bool | None, typer.Option("--verbose", "-v", help="Debug logs; tracebacks of unexpected errors.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioFlags(Flags):
    """What the screen takes."""

    watch: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="More files, folders or patterns to reload on. Repeatable."),
    ] = None
    reload: Annotated[bool | None, typer.Option("--reload/--no-reload", help="Load again when a file is saved.")] = None
    keep_weights: Annotated[
        bool | None,
        typer.Option(
            "--keep-weights/--no-keep-weights",
            help="Put changed code into the running process where frames show that it takes effect.",
        ),
    ] = None
    in_place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A function whose changes need no such proof, as pkg.mod:Class.method. Repeatable.",
        ),
    ] = None
    standby: Annotated[
        bool | None,
        typer.Option("--standby/--no-standby", help="Keep a process ready that has done the third-party imports."),
    ] = None
    standby_reserve: Annotated[
        int | None, typer.Option(metavar="MB", help="RAM that must stay free for the standby to be kept.")
    ] = None
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(REPLACE_WAYS),
            help="Old process serves until the new one is proven, or ends first; auto: by the free memory.",
            autocompletion=_one_of(REPLACE_WAYS),
        ),
    ] = None
    preview: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PREVIEW_MODES),
            help="How the terminal shows pictures.",
            autocompletion=_one_of(PREVIEW_MODES),
        ),
    ] = None
    preview_fps: Annotated[float | None, typer.Option(metavar="FPS", help="Pictures per second on the screen.")] = None
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="Colours of the screen.")] = None
    # Not "bool | None" as the others: typer would load pydantic to convert a None, also for --help.
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show versions and exit.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags(Flags):
    """What a run without a screen takes."""

    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.mp4", help="Write the result; it appears when it is whole."),
    ] = None
    json: Annotated[bool | None, typer.Option("--json", help="Print the report as one JSON document.")] = None
    duration: Annotated[float | None, typer.Option(metavar="SECONDS", help="End after that much of the input.")] = None
    frames: Annotated[int | None, typer.Option(metavar="N", help="End after that many frames.")] = None
    realtime: Annotated[
        bool | None,
        typer.Option("--realtime", help="As live: at the input's pace, the newest frame wins, late ones are dropped."),
    ] = None
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Fail if part of the input is damaged or missing.")
    ] = None


F = TypeVar("F", bound=CommandFlags)


def with_flags(kind: type[F]) -> Callable[[Callable[[typer.Context, F], None]], Callable[..., None]]:
    """Make a command of a function that takes its flags as one object."""

    def decorate(command: Callable[[typer.Context, F], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(ctx: typer.Context, **values: Any) -> None:
            command(ctx, kind(**values))

        types = get_type_hints(kind, include_extras=True)
        only = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter("ctx", only, annotation=typer.Context)]
        parameters += [
            inspect.Parameter(field.name, only, default=field.default, annotation=types[field.name])
            for field in fields(kind)
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate

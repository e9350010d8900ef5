"""The command line as a whole: `build` puts the commands together."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from . import cameras, export_image, relay, run, samples, studio
from .pipeline_name import refuse_other_names

EPILOG = (
    "Every flag can be given in [tool.ai-runner-studio] of pyproject.toml under its own name, and in the environment "
    "as AI_RUNNER_STUDIO_<FLAG>; PIPELINE_IMPORT and PARAMS_IMPORT work too. A flag wins over the environment, the "
    "environment over the file."
    "\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C."
)


class StudioGroup(TyperGroup):
    """Lets the pipeline be named without its flag: ``ai-runner-studio my_pipeline:P --input webcam``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give an argument that is an import path and no command its flag."""
        _, rest, _ = self.make_parser(ctx).parse_args(args=list(args))
        if rest and rest[0] not in self.commands:
            args = _flagged(args, rest)
        return list(super().parse_args(ctx, args))


class RunCommand(TyperCommand):
    """The same for ``ai-runner-studio run my_pipeline:P``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give an argument that is an import path its flag."""
        _, rest, _ = self.make_parser(ctx).parse_args(args=list(args))
        return list(super().parse_args(ctx, _flagged(args, rest)))


def _flagged(args: list[str], rest: list[str]) -> list[str]:
    """`args` with ``--pipeline-import`` before the first of `rest`, what no flag took, if that is an import path.

    Raises:
        UsageError: it names a pipeline or an input in another way.
    """
    if not rest:
        return args
    if ":" not in rest[0]:
        refuse_other_names(rest[0])
        return args
    at = next(i for i in range(len(args)) if args[i] == rest[0] and args[i:].count(rest[0]) == rest.count(rest[0]))
    return [*args[:at], "--pipeline-import", *args[at:]]


def build() -> typer.Typer:
    """The typer application. Commands import what they need when they run."""
    app = typer.Typer(
        name="ai-runner-studio",
        cls=StudioGroup,
        # Rich would double the time that --help takes, and its boxes tell no more.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        subcommand_metavar="[MODULE:CLASS | COMMAND ...]",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EPILOG,
    )
    app.callback()(studio.command)
    app.command("run", cls=RunCommand, epilog=run.EPILOG)(run.command)
    app.command("export-image", cls=RunCommand, epilog=export_image.EPILOG)(export_image.command)
    app.command("samples")(samples.command)
    app.command("cameras")(cameras.command)
    app.command("relay", epilog=relay.EPILOG)(relay.command)
    return app

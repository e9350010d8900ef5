"""``ai-runner-studio export-image``: the plan of a production image, its build context, and the image itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from .flags import Flags, with_flags
from .image_flags import SHARED
from .ship_flags import ShipFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ..export.image_export import Engines, Exported, ExportOptions, ImageExport
    from ..export.image_settings import ImageSettings
    from ..export.plan import ImagePlan
    from .build_line import BuildLine
    from .shipping import Shipping

EPILOG = (
    "Flags from --offline to --dockerfile-append can be given in [tool.ai-runner-studio.image] of pyproject.toml "
    "under their own names, and in the environment as AI_RUNNER_STUDIO_IMAGE_<FLAG>."
    "\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C. Unless it ends with 0, nothing is left in the "
    "place of --output but what was there before, and an image has no name unless it is whole."
)


@with_flags(ShipFlags)
def command(ctx: typer.Context, flags: ShipFlags) -> None:
    """Make a production image of the pipeline, and prove that it does what an orchestrator needs.

    For example: ai-runner-studio export-image --pipeline-import my_pipeline:MyPipeline
    """
    import os
    from pathlib import Path

    from ..export.image_settings import image_settings
    from ..settings_load import gather
    from .shipping import Shipping
    from .signals import run_until_signal

    if flags.schema:
        _print_schema()
        return
    terms = flags.terms(os.environ)
    before = ctx.obj.given() if isinstance(ctx.obj, Flags) else {}
    shared = {name: value for name, value in before.items() if name in SHARED} | flags.shared()
    given = gather(shared, os.environ, Path.cwd())
    settings = image_settings(given, flags.image(), os.environ)
    output = None if flags.plan or flags.output is None else Path.cwd() / flags.output
    shipping = Shipping(terms, flags.emit_to) if terms else None
    if not flags.builds:
        with _told():
            plan = _export(settings, output, shipping)
        _show_plan(flags, plan)
        return
    from ..export.image_export import find_engines

    options = _options(flags, settings.run.project).checked()
    engines = run_until_signal(find_engines(options, settings.platform))  # before anything takes long
    for warning in engines.builder.warnings:
        _tell(f"warning: {warning}")
    with _told():
        _export(
            settings,
            output,
            shipping,
            lambda plan, context, python: _build(flags, settings, options, engines, plan, context, python),
        )


@contextmanager
def _told() -> Iterator[None]:
    """While it is open, signals raise where the code is, and what the system refuses is told like our own errors.

    Raises:
        ExportError: a file of the project that cannot be read, a full temporary folder.
        Interrupted: a signal came.
    """
    from ..errors import ExportError
    from ..interruption import interruptible

    try:
        with interruptible():
            yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise ExportError(f"the export failed: {place}{error.strerror or error}") from error


def _show_plan(flags: ShipFlags, plan: ImagePlan) -> None:
    if flags.json:
        typer.echo(plan.to_json(), nl=False)
    elif flags.plan:
        typer.echo(_summary(plan))


def _options(flags: ShipFlags, project: Path) -> ExportOptions:
    from pathlib import Path

    from ..export.image_export import PATTERN, SECONDS, ExportOptions
    from ..sources.resolve import resolve_input

    def absolute(path: Path | None) -> Path | None:
        return Path.cwd() / path.expanduser() if path is not None else None

    return ExportOptions(
        builder=flags.builder,
        tags=tuple(flags.tag or ()),
        push=bool(flags.push),
        no_cache=bool(flags.no_cache),
        build_args=tuple(flags.build_arg or ()),
        builder_args=tuple(flags.builder_arg or ()),
        store=absolute(flags.image_store),
        verify=flags.verify,
        source=resolve_input(flags.verify_input, project) if flags.verify_input else PATTERN,
        seconds=flags.verify_seconds or SECONDS,
        models=absolute(flags.models),
        report=absolute(flags.report),
    )


def _build(
    flags: ShipFlags,
    settings: ImageSettings,
    options: ExportOptions,
    engines: Engines,
    plan: ImagePlan,
    context: Path,
    python: str,
) -> None:
    """Build, verify and push, and tell what came of it."""
    from ..export.image_export import ImageExport
    from .build_line import BuildLine
    from .signals import run_until_signal

    line = BuildLine()
    run = settings.run
    export = ImageExport(
        plan,
        context,
        engines,
        options,
        python=python,
        project=run.project,
        params=run.params,
        show=line.show,
        warn=line.print,
    )
    try:
        exported = run_until_signal(_ticking(export, line))
    finally:
        line.end()
    if flags.json:
        typer.echo(exported.to_json())
        return
    if exported.verification is not None:
        typer.echo(exported.verification.table())
    else:
        _tell(f"not verified: {exported.why_not}")
    built = exported.built
    _tell(f"built by {built.engine} in {built.duration_s:.0f} s: {', '.join(built.tags)}")
    _tell(f"log and reports: {exported.report}")


async def _ticking(export: ImageExport, line: BuildLine) -> Exported:
    import asyncio

    ticking = asyncio.create_task(line.tick())
    try:
        return await export.run()
    finally:
        ticking.cancel()


def _print_schema() -> None:
    import json

    from ..export.plan import ImagePlan

    typer.echo(json.dumps(ImagePlan.json_schema(), indent=2, sort_keys=True))


def _summary(plan: ImagePlan) -> str:
    from ..export.summary import summary

    return summary(plan)


def _export(
    settings: ImageSettings,
    output: Path | None,
    shipping: Shipping | None,
    build: Callable[[ImagePlan, Path, str], None] | None = None,
) -> ImagePlan:
    """Plan, write the context if a folder is named, build, and make the files that have the image run.

    `build`: gets the plan, the folder of its context, and the project's Python.

    Raises:
        StudioError: it cannot be done, and nothing was written.
    """

    from contextlib import nullcontext

    from ..export.context import check_output, written_context
    from ..export.planner import make_plan
    from ..export.private_places import scan_of_machine
    from ..interpreter import check_interpreter, find_interpreter
    from ..interruption import scratch_folder

    if output:
        check_output(output)
    if shipping:
        shipping.check(settings)
    run = settings.run
    interpreter = check_interpreter(find_interpreter(run.python, run.project, run.python_configured), run.project)
    with scratch_folder("ai-runner-export-") as workshop:
        draft = make_plan(settings, interpreter, workshop, output, _tell)
        if shipping:
            shipping.make(draft.plan)
        context = output or (workshop / "context" if build else None)
        writing: AbstractContextManager[None] = nullcontext()
        if context:
            scan = scan_of_machine(interpreter, run.project, workshop, settings.allow)
            writing = written_context(draft, context, scan, _tell)
        if context and draft.private and not settings.offline:
            _tell(
                f"{len(draft.private)} packages come from a mirror or folder of yours: where PyPI has other files of "
                "them, the build needs the secret pip_conf (README.md), or the context --offline"
            )
        with writing:  # where the rest fails, the folder is again what it was
            if context and build is not None:
                build(draft.plan, context, interpreter.path)
            if shipping:
                shipping.hand_out(_tell)
    if output:
        _tell(f"written: {output}")
    if output and build is None:
        _tell(f"build it: docker build -t {draft.plan.tag} {output}   (others: README.md there)")
    return draft.plan


def _tell(text: str) -> None:
    typer.echo(text, err=True)

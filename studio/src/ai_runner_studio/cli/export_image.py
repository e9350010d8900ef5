"""``ai-runner-studio export-image``: the plan of a production image, and the context that it is built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .flags import Flags, with_flags
from .image_flags import SHARED
from .ship_flags import ShipFlags

if TYPE_CHECKING:
    from pathlib import Path

    from ..export.image_settings import ImageSettings
    from ..export.plan import ImagePlan
    from .shipping import Shipping

EPILOG = (
    "Flags from --offline to --dockerfile-append can be given in [tool.ai-runner-studio.image] of pyproject.toml under "
    "their own names, and in the environment as AI_RUNNER_STUDIO_IMAGE_<FLAG>."
    "\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C. Unless it ends with 0, nothing is left in the "
    "place of --output but what was there before."
)


@with_flags(ShipFlags)
def command(ctx: typer.Context, flags: ShipFlags) -> None:
    """Plan a production image of the pipeline, and write the build context that any builder makes it from.

    For example: ai-runner-studio export-image --pipeline-import my_pipeline:MyPipeline --output image
    """
    import os
    from pathlib import Path

    from ..errors import ExportError, UsageError
    from ..export.image_settings import image_settings
    from ..settings_load import gather
    from .shipping import Shipping
    from .signals import interruptible

    if flags.schema:
        _print_schema()
        return
    if not (flags.plan or flags.json or flags.output or flags.emit):
        raise UsageError(
            "nothing was asked for",
            "--output DIR writes the build context, --plan or --json prints the plan, --emit makes files to run it",
        )
    terms = flags.terms(os.environ)
    before = ctx.obj.given() if isinstance(ctx.obj, Flags) else {}
    shared = {name: value for name, value in before.items() if name in SHARED} | flags.shared()
    given = gather(shared, os.environ, Path.cwd())
    settings = image_settings(given, flags.image(), os.environ)
    output = None if flags.plan or flags.output is None else Path.cwd() / flags.output
    try:
        with interruptible():
            plan = _export(settings, output, Shipping(terms, flags.emit_to) if terms else None)
    except OSError as error:  # a file of the project that cannot be read, a full temporary folder
        place = f"{error.filename}: " if error.filename else ""
        raise ExportError(f"the export failed: {place}{error.strerror or error}") from error
    if flags.json:
        typer.echo(plan.to_json(), nl=False)
    elif flags.plan:
        typer.echo(_summary(plan))


def _print_schema() -> None:
    import json

    from ..export.plan import ImagePlan

    typer.echo(json.dumps(ImagePlan.json_schema(), indent=2, sort_keys=True))


def _summary(plan: ImagePlan) -> str:
    from ..export.summary import summary

    return summary(plan)


def _export(settings: ImageSettings, output: Path | None, shipping: Shipping | None) -> ImagePlan:
    """Plan, write the context if a folder is named, and make the files that have the image run.

    Raises:
        StudioError: it cannot be done, and nothing was written.
    """
    import tempfile
    from pathlib import Path

    from ..export.context import check_output, write_context
    from ..export.planner import make_plan
    from ..export.private_places import scan_of_machine
    from ..interpreter import check_interpreter, find_interpreter

    if output:
        check_output(output)
    if shipping:
        shipping.check_folder()
    run = settings.run
    interpreter = check_interpreter(find_interpreter(run.python, run.project, run.python_configured), run.project)
    with tempfile.TemporaryDirectory(prefix="ai-runner-export-") as workshop:
        draft = make_plan(settings, interpreter, Path(workshop), output, _tell)
        if shipping:
            shipping.make(draft.plan)
        if output:
            scan = scan_of_machine(interpreter, run.project, Path(workshop), settings.allow)
            write_context(draft, output, scan, _tell)
            _tell(f"written: {output}")
            _tell(f"build it: docker build -t {draft.plan.tag} {output}   (others: README.md there)")
        if output and draft.private and not settings.offline:
            _tell(
                f"{len(draft.private)} packages come from a mirror or folder of yours: where PyPI has other files of "
                "them, the build needs the secret pip_conf (README.md), or the context --offline"
            )
    if shipping:
        shipping.hand_out(_tell)
    return draft.plan


def _tell(text: str) -> None:
    typer.echo(text, err=True)

"""``ai-runner-studio run``: one stream to its end, without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from .flags import Flags, RunFlags, with_flags

if TYPE_CHECKING:
    from ..headless import HeadlessRun
    from ..run_report import RunReport
    from ..settings import Settings

EPILOG = (
    "Without --realtime nothing is lost: the input waits for the pipeline, as fast as that is. Live inputs (webcam, "
    "rtsp, ...) cannot wait, there the newest frame wins; they, patterns and --loop need --frames or --duration. "
    "--route trickle implies --realtime: a relay waits for nobody."
    "\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C. Unless it ends with 0, the file of --output is "
    "not touched. With --json the report is all there is on stdout, also of a run that failed."
)


@with_flags(RunFlags)
def command(ctx: typer.Context, flags: RunFlags) -> None:
    """Run a pipeline over an input without a screen; write the result and a report.

    For example: ai-runner-studio run --pipeline-import my_pipeline:MyPipeline --input in.mp4 --output out.mp4
    """
    import os
    from pathlib import Path

    from ..settings_load import gather, run_settings

    before = ctx.obj.given() if isinstance(ctx.obj, Flags) else {}
    given = gather(before | flags.given(), os.environ, Path.cwd())
    as_json = bool(given.get("json", False))
    try:
        settings = run_settings(given)
    except Exception as error:
        if as_json:
            _print_start_failure(error, given.get("pipeline-import", ""), given.get("input", ""))
        raise
    raise typer.Exit(_run(settings, as_json))


def _run(settings: Settings, as_json: bool) -> int:
    """Run, tell, and say the exit code.

    Raises:
        StudioError: it could not be started.
        Interrupted: a signal ended it.
    """
    from ..errors import StudioError
    from ..interruption import Interrupted
    from .progress import ProgressLine
    from .signals import run_until_signal

    line = ProgressLine()
    started: list[HeadlessRun] = []
    try:
        report = run_until_signal(_headless(settings, line, started))
    except Interrupted as error:
        line.end()
        if as_json and started:
            typer.echo(started[0].report(_interruption(error)).as_json())
        raise
    except StudioError as error:
        line.end()
        if as_json:
            _print_start_failure(error, settings.pipeline_import, settings.input)
        raise
    line.end()
    return _tell(report, as_json)


async def _headless(settings: Settings, line: Any, started: list[HeadlessRun]) -> RunReport:
    from ..headless import HeadlessRun

    run = HeadlessRun(settings, line.show)
    started.append(run)
    return await run.run()


def _interruption(error: BaseException) -> Any:
    from ..run_report import RunError

    return RunError("interrupted", f"ended by {error}", exit_code=getattr(error, "exit_code", 130))


def _tell(report: RunReport, as_json: bool) -> int:
    from .failure import show_error, show_report

    if as_json:
        typer.echo(report.as_json())
    elif report.ok:
        typer.echo(report.summary())
    if report.error is None:
        return 0
    if report.error.report is not None:
        show_report(report.error.report, report.error.message.partition(":")[0])
    else:
        show_error(report.error.message, report.error.hint)
    return report.error.exit_code


def _print_start_failure(error: BaseException, pipeline: str, source: str) -> None:
    """The JSON report of a run that did not come to start."""
    from ..errors import StudioError, UsageError
    from ..run_report import RunError, RunInput, RunReport

    kind: Any = "usage" if isinstance(error, UsageError) else "host"
    hint, code = (error.hint, error.exit_code) if isinstance(error, StudioError) else ("", 1)
    failed = RunError(kind, str(error), hint, code)
    typer.echo(RunReport(pipeline=pipeline, input=RunInput(source), error=failed).as_json())

"""``ai-runner-studio``: the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from ..terminal_text import CLEAR_LINE, control
from .flags import StudioFlags, with_flags

if TYPE_CHECKING:
    from ..ending import Ending
    from ..session import Session
    from ..settings import Settings

LEAST_COLUMNS = 60
LEAST_ROWS = 16


@with_flags(StudioFlags)
def command(ctx: typer.Context, flags: StudioFlags) -> None:
    """Run a live video pipeline and see it in the terminal; save a file of it and it is loaded again.

    For example: ai-runner-studio --pipeline-import my_pipeline.pipeline:MyPipeline --input webcam
    """
    if ctx.invoked_subcommand:
        ctx.obj = flags
        return
    import os
    from pathlib import Path

    from runner.live.project_folder import named_folder

    from ..ending import Ending
    from ..settings_load import gather, studio_settings
    from .signals import run_until_signal

    settings = studio_settings(gather(flags.given(), os.environ, Path(named_folder())))
    check_terminal()
    ending = Ending()
    code = run_until_signal(show(settings, ending), ending)
    if code:
        raise typer.Exit(code)


def check_terminal() -> None:
    """Refuse to open a screen where there is none.

    Raises:
        TerminalError: stdin or stdout is no terminal, or it is too small.
    """
    import os

    from ..errors import TerminalError

    instead = "use `ai-runner-studio run` for a run without a screen"
    for stream, name in ((sys.stdin, "stdin"), (sys.stdout, "stdout")):
        if stream is None or stream.closed or not stream.isatty():
            raise TerminalError(f"{name} is not a terminal, the studio cannot open its screen", instead)
    if os.environ.get("TERM") == "dumb":
        raise TerminalError("TERM=dumb: this terminal cannot show a screen", instead)
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    if columns < LEAST_COLUMNS or rows < LEAST_ROWS:
        raise TerminalError(
            f"the terminal has {columns}x{rows} cells, the studio needs {LEAST_COLUMNS}x{LEAST_ROWS}",
            f"make it larger, or {instead}",
        )


async def show(settings: Settings, ending: Ending) -> int:
    """Start the session, then its screen, on one event loop; whatever happens, the session is closed.

    Args:
        ending: begins with the user's wish to leave, or with an error.

    Returns the exit code that the screen was left with.
    """
    from ..preview.terminal import probe
    from ..session import Session

    terminal = probe()  # while nobody else reads the terminal's answers
    session = Session(settings)
    ending.kills.append(session.kill)
    try:
        await _start(session)
        from ..tui.app import StudioApp

        app = StudioApp(session, terminal=terminal, on_leave=ending.begin)
        await app.run_async()
    finally:
        ending.begin()
        await session.close()
    return app.return_code or 0


async def _start(session: Session) -> None:
    """Start the session, and say so meanwhile: on a cold disk it takes seconds."""
    sys.stderr.write("starting the runner host …")
    sys.stderr.flush()
    try:
        await session.start(meanwhile=_import_screen)
    finally:
        control(sys.stderr, CLEAR_LINE)  # the line is free again, for the shell or an error
        sys.stderr.flush()


def _import_screen() -> None:
    """The screen's libraries take as long to import as the host to come up."""
    from ..tui import app  # noqa: F401

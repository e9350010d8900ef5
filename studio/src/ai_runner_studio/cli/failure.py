"""How a command that went wrong says so: a message, a way out, an exit code; no traceback unless asked for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from ..terminal_text import control

if TYPE_CHECKING:
    from pathlib import Path

    from runner.live.report import ErrorReport

    from ..errors import StudioError

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


def show_error(message: str, hint: str = "", stream: TextIO | None = None) -> None:
    """Write ``error: ...`` and, where there is a way out, ``hint: ...`` to stderr."""
    stream = stream or sys.stderr
    _print_labelled("error:", "31", message, stream)
    if hint:
        _print_labelled("hint:", "36", hint, stream)


def show_studio_error(error: StudioError) -> None:
    """Show an error that was raised on purpose."""
    show_error(str(error), error.hint)


def show_report(report: ErrorReport, what: str, stream: TextIO | None = None) -> None:
    """Show a failure of the user's code: what, where, the code around it, the way out."""
    stream = stream or sys.stderr
    _print_labelled("error:", "31", f"{what}: {report.kind}: {report.message}", stream)
    if report.file:
        function = f", in {report.function}" if report.function else ""
        print(f"  {report.file}:{report.line}{function}", file=stream)
    for line in report.code:
        text = f"  {'>' if line.fault else ' '} {line.number:>4} | {line.text}"
        _write(text, "1" if line.fault else "", stream)
        stream.write("\n")
    if report.hint:
        _print_labelled("hint:", "36", report.hint, stream)


def show_unexpected(error: BaseException, verbose: bool) -> None:
    """Show an error nobody thought of: one line, and where its traceback went."""
    import traceback

    trace = "".join(traceback.format_exception(error))
    try:
        hint = f"please report it; the traceback is in {write_log(trace)}"
    except OSError as problem:
        hint = f"please report it; its traceback could not be written ({problem}), -v shows it"
    if verbose:
        sys.stderr.write(trace)
    show_error(f"unexpected {type(error).__name__}: {error}", hint)


def write_log(trace: str) -> Path:
    """Add a traceback, with its time, to the log file in the user's state folder.

    Raises:
        OSError: it cannot be written.
    """
    from datetime import datetime

    from platformdirs import user_log_path

    path = user_log_path("ai-runner-studio", appauthor=False, ensure_exists=True) / "errors.log"
    with path.open("a", encoding="utf-8") as log:
        log.write(f"--- {datetime.now().astimezone().isoformat(timespec='seconds')} {' '.join(sys.argv)}\n{trace}\n")
    return path


def _print_labelled(label: str, colour: str, text: str, stream: TextIO) -> None:
    _write(label, colour, stream)
    stream.write(f" {text}\n")


def _write(text: str, colour: str, stream: TextIO) -> None:
    """Write in a colour, where the stream is a terminal and nobody asked for plain text (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    if plain or not colour:
        stream.write(text)
        return
    control(stream, f"\x1b[{colour}m")
    stream.write(text)
    control(stream, "\x1b[0m")

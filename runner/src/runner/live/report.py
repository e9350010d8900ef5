"""ErrorReport: an exception of the user's code, made to be read by the person who wrote it.

It crosses processes and goes over HTTP, so it is plain data: where, what, the code around it.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import sys
import sysconfig
import textwrap
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

Phase = Literal["import", "params", "initialize", "frame", "update_params", "stop", "process"]

CONTEXT_LINES = 3  # shown before and after the line at fault


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of source. `fault` marks the line that the error points at."""

    number: int
    text: str
    fault: bool = False


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What went wrong, in the terms of whoever wrote the pipeline.

    Attributes:
        phase: what the runner was doing with the pipeline.
        kind: the exception's class name, e.g. ``SyntaxError``.
        message: its text, in user terms.
        hint: a way out, or an empty string.
        file, line, function: the innermost place in the user's own code; empty/0 where there is none.
        code: the lines around that place.
        traceback: the full traceback as Python prints it.
    """

    phase: Phase
    kind: str
    message: str
    hint: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    code: tuple[CodeLine, ...] = ()
    traceback: str = ""

    @property
    def headline(self) -> str:
        """One line: kind, message and place."""
        place = f" ({os.path.basename(self.file)}:{self.line})" if self.file else ""
        return f"{self.kind}: {self.message}{place}"


def report_exception(error: BaseException, phase: Phase, hint: str = "") -> ErrorReport:
    """Describe an exception that was just caught."""
    file, line, function = _place(error)
    return ErrorReport(
        phase=phase,
        kind=type(error).__name__,
        message=_message(error),
        hint=hint or _hint(error),
        file=file,
        line=line,
        function=function,
        code=code_around(file, line),
        traceback="".join(traceback.format_exception(error)),
    )


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg or "invalid syntax"
    return str(error) or "(no message)"


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.split(".")[0]
        return f"Is '{top}' installed in this interpreter? {sys.executable} -m pip install {top}"
    return ""


def _place(error: BaseException) -> tuple[str, int, str]:
    """The innermost line of the user's own code that the error passed through; none where that explains nothing."""
    if getattr(error, "says_all", False):
        return "", 0, ""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno, ""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.lineno and is_user_file(frame.filename):
            return frame.filename, frame.lineno, frame.name
    return "", 0, ""


def code_around(file: str, line: int) -> tuple[CodeLine, ...]:
    """The source lines around `line` of `file`; empty where the file cannot be read."""
    if not file or line < 1:
        return ()
    linecache.checkcache(file)
    numbers = range(max(1, line - CONTEXT_LINES), line + CONTEXT_LINES + 1)
    lines = ((number, linecache.getline(file, number)) for number in numbers)
    return tuple(CodeLine(number, text.rstrip("\n"), number == line) for number, text in lines if text)


def returning_line(target: Any) -> tuple[str, int]:
    """File and line of the last ``return`` of a function (or a class' `transform`); ("", 0) if unknown."""
    function = inspect.unwrap(getattr(target, "transform", target))
    try:
        file, (lines, first) = inspect.getsourcefile(function), inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return "", 0
    returns = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Return)]
    return file or "", first + max(returns, default=1) - 1


_NOT_THE_USERS = tuple(
    os.path.join(os.path.realpath(sysconfig.get_path(name)), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_RUNNER = (
    os.path.join(str(Path(__file__).resolve().parents[1]), ""),  # the package `runner`
    os.path.join(str(Path(__file__).resolve().parents[2] / "app"), ""),  # and its alias
)


@lru_cache(maxsize=16384)  # asked of every module at every reload
def is_user_file(path: str) -> bool:
    """Whether a source file belongs to the user: not the standard library, site-packages or this runtime."""
    if not path or path.startswith("<"):
        return False
    real = os.path.realpath(path)
    if "site-packages" in real or "dist-packages" in real:
        return False
    return not real.startswith(_NOT_THE_USERS + _RUNNER)


def traceback_files(trace: TracebackType | None) -> set[str]:
    """Every user file that a traceback passes through."""
    return {frame.filename for frame in traceback.extract_tb(trace) if is_user_file(frame.filename)}

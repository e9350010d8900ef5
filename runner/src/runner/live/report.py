"""ErrorReport: an exception of the user's code, made to be read by the person who wrote it.

It crosses processes and goes over HTTP, so it is plain data: where, what, the code around it.
"""

from __future__ import annotations

import ast
import asyncio
import errno
import inspect
import linecache
import os
import re
import sys
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from ..errors import RunnerError
from .plain_json import bounded_text, plain_text

Phase = Literal["import", "params", "initialize", "frame", "update_params", "stop", "process"]

CONTEXT_LINES = 3  # shown before and after the line at fault
MESSAGE_LIMIT = 10_000  # characters; an assertion about a large array has millions
TRACEBACK_LIMIT = 100_000
LINE_LIMIT = 1000  # of a name, a path, a line of source
_CHAIN_LIMIT = 100  # exceptions that one was caused by

T = TypeVar("T")
_Place = tuple[str, int, str]  # file, line, function
_NOWHERE: _Place = ("", 0, "")
_WRAPPED = (StopIteration, StopAsyncIteration, GeneratorExit)
# What is said of exceptions that carry no text.
_UNTOLD: dict[type[BaseException], str] = {
    asyncio.CancelledError: "a cancelled task or future was awaited",
    StopIteration: "next() found an iterator exhausted",
    StopAsyncIteration: "anext() found an iterator exhausted",
}


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

    @property
    def headline_with_hint(self) -> str:
        """The same, and the way out if there is one."""
        return f"{self.headline}. {self.hint}" if self.hint else self.headline


class EscapedException(Exception):
    """Carries an exception that is not an `Exception` (`CancelledError`, `SystemExit`) out of user code.

    Such exceptions end tasks and event loops, which belong to the runtime. Reports describe the original, `__cause__`.
    """


def report_exception(error: BaseException, phase: Phase, hint: str = "") -> ErrorReport:
    """Describe an exception that was just caught; never fails, whatever its class does."""
    caught, error = error, _original(error)
    file, line, function = _attempt(lambda: _place(error), _NOWHERE)
    if not file:
        file, line, function = _attempt(lambda: _place(caught), _NOWHERE)
    return ErrorReport(
        phase=phase,
        kind=_name(error),
        message=bounded_text(_message(error), MESSAGE_LIMIT),
        hint=hint or bounded_text(_attempt(lambda: _hint(error), ""), LINE_LIMIT),
        file=bounded_text(file, LINE_LIMIT),
        line=line,
        function=bounded_text(function, LINE_LIMIT),
        code=_attempt(lambda: code_around(file, line), ()),
        traceback=bounded_text(_attempt(lambda: "".join(traceback.format_exception(error)), ""), TRACEBACK_LIMIT),
    )


def _attempt(read: Callable[[], T], otherwise: T) -> T:
    """Attributes and texts of an exception are user code: they may raise anything."""
    try:
        return read()
    except BaseException:
        return otherwise


def _original(error: BaseException) -> BaseException:
    """Return what user code raised. Python wraps a `StopIteration` that leaves a coroutine, and so do worker calls."""
    cause = error.__cause__
    if isinstance(error, EscapedException):
        return cause or error
    text = error.args[0] if type(error) is RuntimeError and error.args else None
    if isinstance(cause, _WRAPPED) and isinstance(text, str) and text.endswith(f"raised {_name(cause)}"):
        return cause
    return error


def _name(error: BaseException) -> str:
    return bounded_text(type(error).__name__, LINE_LIMIT)


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return plain_text(error.msg or "invalid syntax")
    try:
        text = str(error)
    except BaseException as raised:
        return f"(its text cannot be shown: __str__ raised {_name(raised)})"
    return plain_text(text) or _UNTOLD.get(type(error), "(no message)")


def _hint(error: BaseException) -> str:
    if isinstance(error, (ImportError, AttributeError)):
        named = _quoted_names(error) | {error.name or ""} if isinstance(error, ImportError) else _quoted_names(error)
        for file in filter(None, map(shadowing_file, sorted(named))):
            return f"{file} has the name of a module of Python's standard library; rename it"
    if isinstance(error, RunnerError) and error.hint:
        return plain_text(error.hint)
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.split(".")[0]
        return f"Is '{top}' installed in this interpreter? {sys.executable} -m pip install {top}"
    if _name(error) == "BdbQuit":
        return "a debugger needs a terminal; call breakpoint() in the studio or in `run`, which wait for one"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "No file descriptors are left. Close files, sockets and pipes that are opened for each frame."
    return ""


def _quoted_names(error: BaseException) -> set[str]:
    return set(re.findall(r"'([\w.]+)'", str(error)))


def shadowing_file(module: str) -> str:
    """Return the user's file that is named like a module of the standard library; "" if there is none.

    Only one of the two can be imported: mostly Python's own, which the runtime has imported before.
    """
    top = module.split(".")[0]
    if top not in sys.stdlib_module_names:
        return ""
    files = (os.path.join(place, *parts) for place in sys.path for parts in ((f"{top}.py",), (top, "__init__.py")))
    return next((file for file in files if os.path.isfile(file) and is_user_file(file)), "")


def _place(error: BaseException) -> _Place:
    """The innermost line of the user's own code that the error passed through; none where that explains nothing."""
    if _attempt(lambda: bool(getattr(error, "says_all", False)), False):
        return _NOWHERE
    if isinstance(error, SyntaxError) and isinstance(error.filename, str) and isinstance(error.lineno, int):
        return error.filename, error.lineno, ""
    for link in _chain(error):
        for frame in reversed(traceback.extract_tb(link.__traceback__)):
            if frame.lineno and is_user_file(frame.filename):
                return frame.filename, frame.lineno, frame.name
    return _NOWHERE


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was caused by: a library may raise its own error for one of the user's."""
    link: BaseException | None = error
    for _ in range(_CHAIN_LIMIT):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def code_around(file: str, line: int) -> tuple[CodeLine, ...]:
    """The source lines around `line` of `file`; empty where the file cannot be read."""
    if not file or line < 1:
        return ()
    linecache.checkcache(file)
    numbers = range(max(1, line - CONTEXT_LINES), line + CONTEXT_LINES + 1)
    lines = ((number, linecache.getline(file, number)) for number in numbers)
    return tuple(CodeLine(number, _start(text.rstrip("\n")), number == line) for number, text in lines if text)


def _start(line: str) -> str:
    """A generated source line may have megabytes: its start shows what it is, on one line."""
    return plain_text(line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]} …")


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

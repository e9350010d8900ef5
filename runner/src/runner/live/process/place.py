"""Where a process was, read from the stacks that faulthandler printed."""

from __future__ import annotations

import re

from ..report import ErrorReport, Phase, code_around, is_user_file

_STACK_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')


def users_place(stacks: str) -> tuple[str, int, str] | None:
    """Return file, line and function of the user's code, by its first line in `stacks`; None without one."""
    for match in _STACK_LINE.finditer(stacks):
        if is_user_file(match["file"]):
            return match["file"], int(match["line"]), match["function"]
    return None


def report_place(phase: Phase, kind: str, message: str, stacks: str) -> ErrorReport:
    """Return a report about a process that can raise no exception: it hangs, or is gone.

    Args:
        stacks: its last lines, or what it was doing.
    """
    file, line, function = users_place(stacks) or ("", 0, "")
    code = code_around(file, line)
    return ErrorReport(phase, kind, message, file=file, line=line, function=function, code=code, traceback=stacks)

"""The place of what raises nothing: a hang, a crash in native code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runner.live.process.exit import ProcessExit
from runner.live.process.place import report_place
from runner.live.process.revision import exit_report

CRASH = """
import ctypes, faulthandler
faulthandler.enable()
def effect(frame):
    return ctypes.string_at(0)
effect(1)
"""


def test_a_crash_in_native_code_has_the_line_that_called_it(tmp_path: Path) -> None:
    file = tmp_path / "effects.py"
    file.write_text(CRASH)
    crashed = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    logs = tuple(crashed.stderr.splitlines())
    report = exit_report(ProcessExit(crashed.returncode, "was killed by SIGSEGV", logs))
    assert (report.file, report.line, report.function) == (str(file), 5, "effect")
    assert [line.text for line in report.code if line.fault] == ["    return ctypes.string_at(0)"]


def test_without_a_line_of_the_users_there_is_no_place() -> None:
    report = report_place("process", "ProcessExited", "it exited", f'  File "{subprocess.__file__}", line 3 in run\n')
    assert (report.file, report.line, report.code) == ("", 0, ())

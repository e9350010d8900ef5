"""BuildLine: what an export is doing, in a log and on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from ai_runner_studio.cli.build_line import BuildLine
from ai_runner_studio.export.build_progress import BuildProgress
from ai_runner_studio.terminal_text import TerminalStream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_each_step_is_a_line_once() -> None:
    stream = io.StringIO()
    line = BuildLine(stream)
    for _ in range(2):
        line.show("planning", None)
    progress = BuildProgress(2, 7, "RUN pip install torch")
    line.show("building", progress)
    line.end()
    assert stream.getvalue() == f"planning\n[2/7] {progress.doing}\n"


def test_on_a_terminal_one_line_is_kept_fresh_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    line = BuildLine(stream)
    line.show("resolving what the project needs", None)
    assert stream.getvalue() == "\r\x1b[2Kresolving what  0 s"
    line.end()
    assert stream.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in stream.getvalue()


@pytest.mark.parametrize("guard", [lambda stream: stream, TerminalStream], ids=["plain", "guarded"])
def test_a_line_that_stays_is_printed_above_the_live_one(
    monkeypatch: pytest.MonkeyPatch, guard: Callable[[Terminal], Any]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    line = BuildLine(guard(stream))
    line.show("running", None)
    before = len(stream.getvalue())
    line.print("warning: lut.bin")
    assert stream.getvalue()[before:] == "\r\x1b[2Kwarning: lut.bin\n\r\x1b[2Krunning  0 s"

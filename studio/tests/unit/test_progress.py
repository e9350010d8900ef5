"""Progress of a headless run on stderr."""

from __future__ import annotations

import io

import pytest

from ai_runner_studio.cli.progress import ProgressLine, describe
from ai_runner_studio.headless import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_all_that_is_known_is_said() -> None:
    progress = Progress("running", frames=50, total=200, fps=25.0, latency_ms=4.25)
    assert describe(progress) == " 25 %  50/200 frames  25.0 fps  0:06 left  4.2 ms"


def test_an_unknown_end_has_no_percent() -> None:
    assert describe(Progress("running", frames=50, fps=25.0)) == "50 frames  25.0 fps"


def test_before_the_first_frame_it_says_what_is_being_done() -> None:
    assert describe(Progress("loading the pipeline: import")) == "loading the pipeline: import ..."


def test_a_terminal_has_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    line = ProgressLine(stream)
    line.show(Progress("running", frames=50, total=200, fps=25.0))
    line.show(Progress("running", frames=51, total=200, fps=25.0))
    assert stream.getvalue() == "\r\x1b[2K 25 %  50/200 frame"
    line.end()
    line.end()
    assert stream.getvalue().endswith("frame\r\x1b[2K")


def test_elsewhere_a_line_for_each_new_thing() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    for progress in (Progress("opening"), Progress("opening"), Progress("running", 1), Progress("running", 2)):
        line.show(progress)
    line.end()
    assert stream.getvalue() == "opening ...\n1 frames\n"


def test_a_note_stays_and_nothing_is_written_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    line = ProgressLine(stream)
    line.show(Progress("running"))
    line.show(Progress("", note="attach with: x"))
    line.show(Progress("running again"))
    assert "\r\x1b[2Kattach with: x\n\r\x1b[2Krunning again" in stream.getvalue()

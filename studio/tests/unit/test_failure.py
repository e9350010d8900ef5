"""How errors look on stderr."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ai_runner_studio.cli.failure import show_error, show_report, write_log
from runner.errors import RunnerError
from runner.live.report import report_exception


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_message_and_hint_each_have_a_line() -> None:
    stream = io.StringIO()
    show_error("no such file", "look elsewhere", stream)
    assert stream.getvalue() == "error: no such file\nhint: look elsewhere\n"


def test_without_a_hint_there_is_no_empty_line() -> None:
    stream = io.StringIO()
    show_error("no such file", stream=stream)
    assert stream.getvalue() == "error: no such file\n"


def test_a_terminal_gets_colours_unless_it_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    show_error("a", stream=stream)
    assert "\x1b[31merror:\x1b[0m a" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    show_error("a", stream=stream)
    assert stream.getvalue() == "error: a\n"


def test_a_report_shows_place_code_and_fault(tmp_path: Path) -> None:
    source = tmp_path / "effect.py"
    source.write_text("def transform(frame):\n    x = 1\n    raise ValueError('too bright')\n")
    space: dict[str, object] = {}
    exec(compile(source.read_text(), str(source), "exec"), space)
    with pytest.raises(ValueError, match="too bright") as caught:
        space["transform"](None)  # type: ignore[operator]
    stream = io.StringIO()
    show_report(report_exception(caught.value, "frame", hint="darken it"), "the pipeline failed", stream)
    assert stream.getvalue().splitlines() == [
        "error: the pipeline failed: ValueError: too bright",
        f"  {source}:3, in transform",
        "       1 | def transform(frame):",
        "       2 |     x = 1",
        "  >    3 |     raise ValueError('too bright')",
        "hint: darken it",
    ]


def test_tracebacks_of_unexpected_errors_are_added_to_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    write_log("first")
    path = write_log("second")
    assert path.is_relative_to(tmp_path)
    assert [line for line in path.read_text().splitlines() if line and not line.startswith("---")] == [
        "first",
        "second",
    ]


def test_an_error_that_says_all_is_shown_without_code(tmp_path: Path) -> None:
    source = tmp_path / "load.py"
    source.write_text(
        "from runner.errors import RunnerError\n"
        "class NotInstalled(RunnerError):\n    says_all = True\n"
        "def load():\n    raise NotInstalled('install it')\n"
    )
    space: dict[str, object] = {}
    exec(compile(source.read_text(), str(source), "exec"), space)
    with pytest.raises(RunnerError) as caught:
        space["load"]()  # type: ignore[operator]
    stream = io.StringIO()
    show_report(report_exception(caught.value, "initialize"), "the pipeline did not load", stream)
    assert stream.getvalue() == "error: the pipeline did not load: NotInstalled: install it\n"

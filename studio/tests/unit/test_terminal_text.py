"""Text from outside, made visible on its way to a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from ai_runner_studio.cli.failure import show_error
from ai_runner_studio.cli.studio import check_terminal
from ai_runner_studio.errors import TerminalError
from ai_runner_studio.terminal_text import TerminalStream, guard_standard_streams
from runner.live.plain_json import visible


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[?1049l", "\\x1b[?1049l"),  # leaves the alternate screen
        ("\x1b]52;c;UEFZ\x07", "\\x1b]52;c;UEFZ\\x07"),  # writes to the clipboard
        ("\x1bc", "\\x1bc"),  # resets the terminal
        ("\x9b31m\x90q\x9c", "\\x9b31m\\x90q\\x9c"),  # 8-bit controls
        ("a\x0eb\x0f\x7f\x00", "a\\x0eb\\x0f\\x7f\\x00"),
        ("50 %\rdone\r\n", "50 %\\rdone\n"),
        ("\u202eright to left\u2066", "\\u202eright to left\\u2066"),
        ("m\udcffn", "m\\udcffn"),  # a byte of a file name that is not UTF-8
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["a\tb\nc", "é e\u0301", "漢字", "👩\u200d💻 ❤\ufe0f", "שלום مرحبا", "\\x1b[0m"])
def test_readable_text_stays(text: str) -> None:
    assert visible(text) == text


def test_a_guarded_stream_sends_our_own_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    guard_standard_streams()
    show_error("weights\x1b[2J", "\x07")
    print("\x1bc", file=sys.stderr)
    assert terminal.getvalue() == ("\x1b[31merror:\x1b[0m weights\\x1b[2J\n\x1b[36mhint:\x1b[0m \\x07\n\\x1bc\n")


def test_streams_are_guarded_once_and_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", Terminal())
    guard_standard_streams()
    guarded = sys.stderr
    guard_standard_streams()
    assert sys.stdout is file
    assert isinstance(guarded, TerminalStream)
    assert sys.stderr is guarded


def test_closed_streams_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    guard_standard_streams()
    assert sys.stdout is None


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_the_screen_refuses_a_closed_stream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("stdin", "stdout"):
        monkeypatch.setattr(sys, other, Terminal())
    monkeypatch.setattr(sys, name, None)
    with pytest.raises(TerminalError, match=f"{name} is not a terminal"):
        check_terminal()

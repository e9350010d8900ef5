"""What a terminal can do, from its environment and its answers; and the probe on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pytest

from ai_runner_studio.preview.terminal import Terminal, from_answers, from_environment

KITTY_ANSWERS = b"\x1b_Gi=4211;OK\x1b\\\x1b_Gi=4212;OK\x1b\\\x1b[6;18;9t\x1b[?62;c"
XTERM_SIXEL_ANSWERS = b"\x1b[6;15;7t\x1b[?63;1;2;4;6;9;15;22c"


@pytest.mark.parametrize(
    ("environ", "colours"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "24-bit"),
        ({"TERM": "xterm-kitty"}, "24-bit"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "24-bit"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "screen"}, "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        ({"TERM": "dumb"}, "none"),
        ({}, "none"),
    ],
)
def test_colours_by_environment(environ: dict[str, str], colours: str) -> None:
    assert from_environment(environ, "utf-8").colours == colours


class TestAnswers:
    def test_kitty(self) -> None:
        terminal = from_answers(Terminal(), KITTY_ANSWERS, {}, "")
        assert terminal.kitty == "direct"
        assert terminal.kitty_by_file
        assert not terminal.sixel
        assert (terminal.cell_width, terminal.cell_height) == (9, 18)
        assert terminal.choose("auto") == "kitty"

    def test_kitty_over_a_network_sends_pixels(self) -> None:
        answers = KITTY_ANSWERS.replace(b"4212;OK", b"4212;EBADF:no such file")
        terminal = from_answers(Terminal(), answers, {}, "")
        assert terminal.kitty == "direct"
        assert not terminal.kitty_by_file

    @pytest.mark.parametrize(
        ("answer", "colours"),
        [
            (b"\x1bP1$r0;48:2::1:2:3m\x1b\\", "24-bit"),  # xterm
            (b"\x1bP1$r0;48:2:1:2:3m\x1b\\", "24-bit"),
            (b"\x1bP1$r48;2;1;2;3m\x1b\\", "24-bit"),
            (b"\x1bP1$r0;48:5:16m\x1b\\", "256"),  # its nearest colour
            (b"\x1bP0$r\x1b\\", "256"),
            (b"", "256"),
        ],
    )
    def test_true_colour_is_what_the_terminal_confirms(self, answer: bytes, colours: str) -> None:
        terminal = from_environment({"TERM": "xterm-256color"}, "utf-8")
        assert from_answers(terminal, answer + b"\x1b[?1;2c", {}, "").colours == colours

    def test_sixel(self) -> None:
        terminal = from_answers(Terminal(), XTERM_SIXEL_ANSWERS, {}, "")
        assert terminal.sixel
        assert terminal.modes() == ("sixel", "blocks", "text")

    def test_a_class_4_terminal_is_not_taken_for_sixel(self) -> None:
        assert not from_answers(Terminal(), b"\x1b[?4;6c", {}, "").sixel

    def test_silence_means_half_blocks(self) -> None:
        assert from_answers(Terminal(), b"", {}, "").choose("auto") == "blocks"

    def test_tmux_in_kitty_goes_through_tmux(self) -> None:
        terminal = from_answers(Terminal(tmux=True), b"\x1b[?1;2c", {}, "kitty(0.35.2) xterm-kitty")
        assert terminal.kitty == "tmux"
        assert terminal.choose("auto") == "kitty"

    def test_tmux_in_another_terminal_does_not(self) -> None:
        terminal = from_answers(Terminal(tmux=True), b"\x1b[?1;2c", {}, "xterm-256color")
        assert terminal.choose("auto") == "blocks"
        assert terminal.choose("kitty") == "blocks"


class TestChoice:
    def test_text_is_all_there_is_without_colours(self) -> None:
        assert Terminal(colours="none").modes() == ("text",)

    def test_what_is_asked_for_is_done_where_the_terminal_may_just_not_say_so(self) -> None:
        assert Terminal().choose("kitty") == "kitty"
        assert Terminal().choose("sixel") == "sixel"
        assert Terminal().choose("text") == "text"

    def test_blocks_need_unicode(self) -> None:
        assert Terminal(unicode=False).choose("blocks") == "text"


PROBE = "from ai_runner_studio.preview import terminal; print('FOUND', terminal.probe())"
# The limit for users is short, and a busy machine takes longer to answer.
PATIENT_PROBE = PROBE.replace(";", "; terminal._ask.__defaults__ = (60.0,);")


@pytest.mark.parametrize(
    ("answers", "found"),
    [(KITTY_ANSWERS, "kitty='direct'"), (XTERM_SIXEL_ANSWERS, "sixel=True"), (b"", "kitty=''")],
)
def test_probe_on_a_real_pseudo_terminal(answers: bytes, found: str) -> None:
    parent, child = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    for name in ("TMUX", "NO_COLOR", "COLORTERM"):
        environ.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", PATIENT_PROBE if answers else PROBE],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environ,
    )
    os.close(child)
    output = b""
    answered = 0
    until = time.monotonic() + 60
    while b"FOUND" not in output or not output.endswith(b"\n"):
        if not select.select([parent], [], [], max(0, until - time.monotonic()))[0]:
            break
        try:
            output += os.read(parent, 4096)
        except OSError:
            break
        while answers and output.count(b"\x1b[c") > answered:
            os.write(parent, answers)
            answered += 1
    assert process.wait(60) == 0
    os.close(parent)
    assert found in output.decode()
    assert b"\x1b_Ga=q" in output or b"a=q" in output

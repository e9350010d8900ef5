"""The screen's command on a terminal of its own: it opens, ends on a key or a signal, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import ALTERNATE_SCREEN, NORMAL_SCREEN, OnTerminal, children, gone, on_terminal

INVERT = "def invert(frame, params):\n    return 1 - frame\n"


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[OnTerminal]:
    """The studio with a pipeline that works."""
    (tmp_path / "effects.py").write_text(INVERT)
    words = ("effects:invert", "--input", "pattern:320x240@30", "--preview", "blocks")
    with on_terminal(*words, cwd=tmp_path) as command:
        yield command


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_the_terminal_restored(studio: OnTerminal, number: int, code: int) -> None:
    assert studio.read_until(ALTERNATE_SCREEN)
    assert studio.read_until(b"ONLINE"), studio.written[-2000:]
    processes = children(studio.process.pid)
    os.kill(studio.process.pid, number)
    assert studio.wait() == code
    assert studio.written.rfind(NORMAL_SCREEN) > studio.written.rfind(ALTERNATE_SCREEN)
    assert termios.tcgetattr(studio.terminal) == studio.modes
    assert len(processes) >= 2
    assert gone(processes)


@pytest.mark.parametrize(("key", "code"), [(b"q", 0), (b"\x03", 130)])
def test_a_key_ends_it(studio: OnTerminal, key: bytes, code: int) -> None:
    assert studio.read_until(b"ONLINE"), studio.written[-2000:]
    processes = children(studio.process.pid)
    os.write(studio.terminal, key)
    assert studio.read_until(NORMAL_SCREEN)
    os.kill(studio.process.pid, signal.SIGCONT)  # as a terminal does when it hangs up
    assert studio.wait() == code
    assert studio.written.rfind(NORMAL_SCREEN) > studio.written.rfind(ALTERNATE_SCREEN)
    assert gone(processes)


class TestBeforeItOpens:
    def test_a_terminal_that_is_too_small_is_refused_with_its_size(self, tmp_path: Path) -> None:
        with on_terminal("a:B", "--input", "pattern", cwd=tmp_path, columns=50, rows=20) as command:
            assert command.wait() == 2
            written = command.written.decode()
        assert "the terminal has 50x20 cells, the studio needs 60x16" in written
        assert "ai-runner-studio run" in written

    def test_a_mistake_is_told_on_the_normal_screen(self, tmp_path: Path) -> None:
        with on_terminal("a:B", "--input", "nothing.mp4", cwd=tmp_path) as command:
            assert command.wait() == 2
            assert b"there is no such file" in command.written
            assert ALTERNATE_SCREEN not in command.written

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [({}, b"\x1b[31merror:\x1b[0m"), ({"NO_COLOR": "1"}, b"error: no"), ({"TERM": "dumb"}, b"error: no")],
    )
    def test_errors_are_coloured_unless_plain_text_was_asked_for(
        self, tmp_path: Path, environ: dict[str, str], expected: bytes
    ) -> None:
        with on_terminal(cwd=tmp_path, **environ) as command:
            assert command.wait() == 2
            assert expected in command.written

    def test_the_least_size_is_the_one_that_the_screen_knows(self) -> None:
        from ai_runner_studio.cli.studio import LEAST_COLUMNS, LEAST_ROWS
        from ai_runner_studio.tui.screens.too_small import LEAST_HEIGHT, LEAST_WIDTH

        assert (LEAST_COLUMNS, LEAST_ROWS) == (LEAST_WIDTH, LEAST_HEIGHT)

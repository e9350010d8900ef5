"""What the terminal can do: asked of the environment and of the terminal itself, before Textual takes it.

The terminal is asked all things at once (true colour, size of a cell, kitty graphics, device attributes). Nearly
every terminal answers the last one, so the wait ends with its answer and not with the time limit.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..settings import PreviewMode
from .blocks import Depth

DrawMode = Literal["kitty", "sixel", "blocks", "text"]

_TIMEOUT_S = 0.4
_ASKED_DIRECT, _ASKED_BY_FILE = 4211, 4212  # image numbers of the two kitty questions
_TRUECOLOR_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "rio", "Hyper", "WarpTerminal")
_TRUECOLOR_TERMS = ("direct", "kitty", "ghostty", "alacritty", "foot", "wezterm", "contour")
_PLACEHOLDER_TERMINALS = ("kitty", "ghostty")  # show kitty pictures by placeholder characters, as tmux needs
_KITTY_OK = re.compile(rb"\x1b_Gi=(\d+);OK")
_DEVICE_ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
# The colour (1, 2, 3) is set as background, asked for (DECRQSS of SGR) and unset: 256 colours would answer another one.
_ASK_TRUECOLOR = "\x1b[48;2;1;2;3m\x1bP$qm\x1b\\\x1b[0m"
_TRUECOLOR = re.compile(rb"\x1bP1\$r[0-9;:]*48[;:]2[;:]{1,2}1[;:]2[;:]3(?![0-9])")
_CELL_SIZE = re.compile(rb"\x1b\[6;(\d+);(\d+)t")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal's abilities.

    Attributes:
        colours: ``24-bit``, ``256``, or ``none`` (too old a terminal, or NO_COLOR).
        kitty: how kitty graphics go: straight (``direct``), through tmux (``tmux``), or not at all ("").
        kitty_by_file: the terminal reads files of this machine, which saves sending pixels.
        sixel: it draws sixel pictures.
        cell_width, cell_height: of one character cell, in pixels; 0 where the terminal does not say.
        unicode: it can be sent more than ASCII.
        tmux: it is a tmux pane.
    """

    colours: Literal["24-bit", "256", "none"] = "24-bit"
    kitty: Literal["direct", "tmux", ""] = ""
    kitty_by_file: bool = False
    sixel: bool = False
    cell_width: int = 0
    cell_height: int = 0
    unicode: bool = True
    tmux: bool = False

    @property
    def depth(self) -> Depth:
        """Colours for half-blocks."""
        return "256" if self.colours == "256" else "24-bit"

    @property
    def cell_aspect(self) -> float:
        """Width of half a cell's height worth of pixel: 1.0 where a cell is twice as high as wide."""
        if not self.cell_width or not self.cell_height:
            return 1.0
        return self.cell_width / (self.cell_height / 2)

    def modes(self) -> tuple[DrawMode, ...]:
        """The modes it can do, best first; ``text`` always works."""
        modes: list[DrawMode] = []
        if self.kitty:
            modes.append("kitty")
        if self.sixel and self.cell_width:
            modes.append("sixel")
        if self.unicode and self.colours != "none":
            modes.append("blocks")
        return (*modes, "text")

    def choose(self, asked: PreviewMode) -> DrawMode:
        """The mode to draw in: what was asked for where that can work at all, else the best one.

        Kitty and sixel are drawn on demand even where the terminal did not answer for them, as the
        person may know better; where it draws nothing, another mode is one key away.
        """
        if asked == "auto":
            return self.modes()[0]
        if asked == "sixel" or (asked == "kitty" and not (self.tmux and not self.kitty)):
            return asked
        return asked if asked in self.modes() else self.modes()[0]


def probe(environ: Mapping[str, str] | None = None) -> Terminal:
    """Look at the environment, then ask the terminal; the latter only if both ends are a terminal.

    Call it while nothing else reads the terminal. It takes at most 0.4 s, mostly a few milliseconds.
    """
    environ = os.environ if environ is None else environ
    terminal = from_environment(environ, sys.__stdout__.encoding if sys.__stdout__ else "ascii")
    if terminal.colours == "none" or not _is_terminal():
        return terminal
    from . import kitty

    kitty.sweep_abandoned()
    asks_colours = terminal.colours == "256" and environ.get("TERM") != "linux"
    colours = _ASK_TRUECOLOR if asks_colours else ""
    answers = _ask(colours + "\x1b[16t" + ("" if terminal.tmux else kitty.query(_ASKED_DIRECT, by_file=False)))
    if _ASKED_DIRECT in _accepted(answers):
        # Only now: a terminal that knows no pictures would leave the file lying.
        answers += _ask(kitty.query(_ASKED_BY_FILE, by_file=True))
    return from_answers(terminal, answers, environ, _tmux_client() if terminal.tmux else "")


def from_environment(environ: Mapping[str, str], encoding: str) -> Terminal:
    """What the environment alone says."""
    return Terminal(
        colours=_colours(environ),
        unicode="utf" in (encoding or "").lower(),
        tmux="TMUX" in environ,
    )


def from_answers(terminal: Terminal, answers: bytes, environ: Mapping[str, str], tmux_client: str) -> Terminal:
    """`terminal` with what its answers add.

    Args:
        tmux_client: name of the terminal that tmux runs in, if it lets pictures pass; else "".
    """
    accepted = _accepted(answers)
    attributes = _DEVICE_ATTRIBUTES.search(answers)
    cell = _CELL_SIZE.search(answers)
    cell_height, cell_width = (int(cell[1]), int(cell[2])) if cell else _cell_from_window()
    kitty: Literal["direct", "tmux", ""] = ""
    if terminal.tmux:
        kitty = "tmux" if any(name in tmux_client.lower() for name in _PLACEHOLDER_TERMINALS) else ""
    elif _ASKED_DIRECT in accepted:
        kitty = "direct"
    return Terminal(
        colours="24-bit" if _TRUECOLOR.search(answers) else terminal.colours,
        kitty=kitty,
        kitty_by_file=_ASKED_BY_FILE in accepted or (kitty == "tmux" and "SSH_CONNECTION" not in environ),
        sixel=attributes is not None and b"4" in attributes[1].split(b";")[1:],
        cell_width=cell_width,
        cell_height=cell_height,
        unicode=terminal.unicode,
        tmux=terminal.tmux,
    )


def _accepted(answers: bytes) -> set[int]:
    """The kitty questions that were answered with OK."""
    return {int(number) for number in _KITTY_OK.findall(answers)}


def _colours(environ: Mapping[str, str]) -> Literal["24-bit", "256", "none"]:
    term = environ.get("TERM", "")
    if "NO_COLOR" in environ or term in ("", "dumb", "vt100", "vt220"):
        return "none"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "24-bit"
    if environ.get("TERM_PROGRAM") in _TRUECOLOR_PROGRAMS or any(name in term for name in _TRUECOLOR_TERMS):
        return "24-bit"
    return "256"


def _is_terminal() -> bool:
    return bool(
        sys.__stdin__ and sys.__stdout__ and sys.__stdin__.isatty() and sys.__stdout__.isatty() and os.name == "posix"
    )


def _ask(questions: str, timeout_s: float = _TIMEOUT_S) -> bytes:
    """Write questions to the terminal and read until it has told its device attributes."""
    import select
    import termios
    import tty

    from . import kitty

    assert sys.__stdin__ is not None
    assert sys.__stdout__ is not None
    reader, writer = sys.__stdin__.fileno(), sys.__stdout__.fileno()
    answers = b""
    try:
        before = termios.tcgetattr(reader)
    except termios.error:
        return answers
    try:
        tty.setcbreak(reader, termios.TCSANOW)
        os.write(writer, f"{questions}\x1b[c".encode())  # every terminal answers the last one
        until = time.monotonic() + timeout_s
        while not _DEVICE_ATTRIBUTES.search(answers) and (left := until - time.monotonic()) > 0:
            if not select.select([reader], [], [], left)[0]:
                break
            answers += os.read(reader, 4096)
    finally:
        termios.tcsetattr(reader, termios.TCSANOW, before)
        kitty.sweep()
    return answers


def _cell_from_window() -> tuple[int, int]:
    """Height and width of a cell by the kernel's idea of the window, 0 where it has none."""
    import fcntl
    import struct
    import termios

    if sys.__stdout__ is None:
        return 0, 0
    try:
        size = fcntl.ioctl(sys.__stdout__.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return 0, 0
    rows, columns, width, height = struct.unpack("HHHH", size)
    return (height // rows, width // columns) if rows and columns and width and height else (0, 0)


def _tmux_client() -> str:
    """Type of the terminal around tmux, if tmux lets sequences pass to it; else an empty string."""
    import subprocess

    question = ["tmux", "display-message", "-p", "#{allow-passthrough} #{client_termtype} #{client_termname}"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    allowed, _, client = answer.strip().partition(" ")
    return client if allowed in ("on", "all", "1", "2") else ""

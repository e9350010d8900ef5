"""RelayBoard: what the relay command shows of its channels: a block that is drawn anew, lines, or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from ..terminal_text import control

if TYPE_CHECKING:
    from runner.live.trickle.relay_channel import ChannelStatistics

PLAIN_EVERY_S = 10.0
_HEAD = f"{'channel':<24}{'next':>6}{'segments':>10}{'in':>9}{'out':>9}{'readers':>9}  last began"


class RelayBoard(ABC):
    """Where the relay's statistics go."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def began(self, url: str, names: Sequence[str], autocreate: bool) -> None:
        """The relay listens. `url`: of all channels, with a slash at its end; `names`: those it is about to make."""
        self._write(introduction(url, names, autocreate) + "\n")

    @abstractmethod
    def show(self, channels: Sequence[ChannelStatistics]) -> None:
        """What has happened so far; called about twice a second."""

    def ended(self) -> None:
        """Nothing more is shown."""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class LiveBoard(RelayBoard):
    """One block of lines on a terminal that is drawn over itself."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._drawn = 0

    def show(self, channels: Sequence[ChannelStatistics]) -> None:
        size = shutil.get_terminal_size()
        lines = table(channels, size.lines - 2)
        # Up to where the last block began; a terminal that draws all of it at once does not flicker.
        back = f"\x1b[{self._drawn}F" if self._drawn else ""
        control(self._stream, back + "\x1b[J")
        self._write("".join(f"{line[: size.columns - 1]}\n" for line in lines))
        self._drawn = len(lines)


class PlainBoard(RelayBoard):
    """Lines for a log: whenever a channel comes or goes, else every 10 s while something is published."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._shown: dict[str, ChannelStatistics] | None = None
        self._shown_at = 0.0

    def show(self, channels: Sequence[ChannelStatistics]) -> None:
        now = time.monotonic()
        found = {channel.name: channel for channel in channels}
        shown = self._shown
        if shown is not None and found.keys() == shown.keys():
            if now - self._shown_at < PLAIN_EVERY_S:
                return
            changed = [name for name in found if counts(found[name]) != counts(shown[name])]
        else:
            changed = list(found.keys() - (shown or {}).keys())
        gone = (shown or {}).keys() - found.keys()
        lines = [f"{printable(name)}: {in_words(channel)}" for name, channel in found.items() if name in changed]
        self._write("".join(f"{line}\n" for line in [*lines, *(f"{printable(name)}: closed" for name in sorted(gone))]))
        self._shown, self._shown_at = found, now


class JsonBoard(RelayBoard):
    """JSON, one object a line: first where it listens, then the channels whenever something has happened."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._shown: list[tuple[object, ...]] | None = None

    def began(self, url: str, names: Sequence[str], autocreate: bool) -> None:
        channels = {name: url + name for name in names}
        self._write(json.dumps({"url": url, "autocreate": autocreate, "channels": channels}) + "\n")

    def show(self, channels: Sequence[ChannelStatistics]) -> None:
        shown = [(channel.name, *counts(channel)) for channel in channels]
        if shown != self._shown:
            self._shown = shown
            self._write(json.dumps({"statistics": [asdict(channel) for channel in channels]}) + "\n")


def introduction(url: str, names: Sequence[str], autocreate: bool) -> str:
    """Where it listens, and how to use it."""
    name = names[0] if names else "stream"
    commands = {
        "publish a segment": f"curl -X POST -H 'Content-Type: video/mp2t' --data-binary @clip.ts {url}{name}/-1",
        "read the next one": f"curl -s {url}{name}/-1 -o next.ts",
        "read the newest one": f"curl -s {url}{name}/-2 -o newest.ts",
        "close the channel": f"curl -X DELETE {url}{name}",
    }
    lines = [f"relay: {url}", *(f"{what}:\n  {command}" for what, command in commands.items())]
    if autocreate:
        lines.append("a channel that is not there yet is made when somebody publishes to it")
    return "\n".join([*lines, "Ctrl-C ends it", ""])


def table(channels: Sequence[ChannelStatistics], rows: int) -> list[str]:
    """A line for each channel below a line of headings, in `rows` lines at most."""
    lines = [_HEAD]
    for channel in channels:
        lines.append(
            f"{_shortened(channel.name, 23):<24}{channel.head:>6}{channel.segments:>10}{size(channel.bytes_in):>9}"
            f"{size(channel.bytes_out):>9}{channel.readers:>9}  {last_began(channel)}"
        )
    if not channels:
        lines.append("no channel yet")
    rows = max(2, rows)
    return lines if len(lines) <= rows else [*lines[: rows - 1], f"and {len(lines) - rows + 1} more"]


def in_words(channel: ChannelStatistics) -> str:
    """``12 segments, 3.4 MB in, 3.4 MB out, 1 reader, next is 12``."""
    segments = f"{channel.segments} segment{'' if channel.segments == 1 else 's'}"
    readers = f"{channel.readers} reader{'' if channel.readers == 1 else 's'}"
    traffic = f"{size(channel.bytes_in)} in, {size(channel.bytes_out)} out"
    return f"{segments}, {traffic}, {readers}, next is {channel.head}"


def counts(channel: ChannelStatistics) -> tuple[object, ...]:
    """All but the time that has gone by."""
    return channel.head, channel.segments, channel.bytes_in, channel.bytes_out, channel.readers


def last_began(channel: ChannelStatistics) -> str:
    """``4 s ago``; a dash where nothing was published."""
    return f"{channel.idle_s:.0f} s ago" if channel.segments else "-"


def size(count: int) -> str:
    """``512 B``, ``41 kB`` or ``3.4 MB``."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def printable(name: str) -> str:
    """The name as a terminal may be given it: whoever publishes may have chosen it."""
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in name)


def _shortened(name: str, cells: int) -> str:
    shown = printable(name)
    return shown if len(shown) <= cells else f"{shown[: cells - 3]}..."

"""LineLimit: how many lines pass, and which of the rest."""

from __future__ import annotations

import logging

from runner.live.process.child_log import RECORD_LIMIT, LogSender
from runner.live.process.line_limit import BURST_LINES, KEPT_LINES, LINES_PER_S, LineLimit
from runner.live.process.lines import LineReader
from runner.live.process.messages import LogLine


class Lines:
    """A limit with a clock that the test moves; what it has passed on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.passed: list[int | str] = []
        self.limit: LineLimit[int] = LineLimit(
            self.passed.append, lambda count: self.passed.append(f"-{count}"), lambda: self.now
        )


def test_a_burst_passes() -> None:
    lines = Lines()
    lines.limit.add(range(BURST_LINES))
    lines.limit.flush()
    assert lines.passed == list(range(BURST_LINES))


def test_above_the_rate_the_newest_are_kept_and_the_others_counted() -> None:
    lines = Lines()
    lines.limit.add(range(BURST_LINES + 500))
    lines.limit.add([9999])
    assert lines.passed == list(range(BURST_LINES))
    lines.limit.flush()
    [note, *last] = lines.passed[BURST_LINES:]
    assert note == f"-{501 - KEPT_LINES}"
    assert last == [*range(BURST_LINES + 501 - KEPT_LINES, BURST_LINES + 500), 9999]


def test_a_few_above_the_rate_are_only_late() -> None:
    lines = Lines()
    lines.limit.add(range(BURST_LINES + 3))
    lines.limit.flush()
    assert lines.passed == list(range(BURST_LINES + 3))


def test_order_is_kept_and_the_allowance_comes_back() -> None:
    lines = Lines()
    lines.limit.add(range(BURST_LINES + 1))
    lines.now = 1.0
    lines.limit.add([2000])  # behind the one that is held
    assert lines.passed[-1] == BURST_LINES - 1
    lines.limit.flush()
    assert lines.passed[-2:] == [BURST_LINES, 2000]
    lines.limit.add(range(3000, 3000 + 2 * LINES_PER_S))
    assert lines.passed[-1] == 3000 + LINES_PER_S - 1


async def test_who_watches_gets_all_lines_also_those_that_are_dropped() -> None:
    logged: list[str] = []
    watched: list[bytes] = []
    reader = LineReader(logged.append, watched.extend)
    reader.data_received(b"flood\n" * (BURST_LINES + 500))
    reader.data_received(b"Current thread\n" + b"flood\n" * 500 + b"half a li")
    assert b"Current thread" in watched
    assert len(logged) == BURST_LINES
    reader.data_received(b"ne")
    reader.flush()
    assert "dropped" in logged[BURST_LINES]
    assert logged[-2:] == ["flood", "half a line"]
    reader.connection_lost(None)
    assert logged[-1] == "half a line"


async def test_a_megabyte_line_comes_whole_in_pieces() -> None:
    logged: list[str] = []
    reader = LineReader(logged.append, lambda _: None)
    text = "wärme漢字👩" * 60_000
    data = text.encode()
    for start in range(0, len(data), 65_536):
        reader.data_received(data[start : start + 65_536])
    reader.data_received(b"\nshort\n")
    reader.connection_lost(None)
    assert max(len(line.encode()) for line in logged) <= 8192
    assert "".join(logged) == text + "short"
    assert logged[-1] == "short"


def test_a_long_record_goes_in_pieces_that_the_limit_counts() -> None:
    class Channel:
        def __init__(self) -> None:
            self.sent: list[LogLine] = []

        def send(self, message: LogLine) -> None:
            self.sent.append(message)

    channel = Channel()
    sender = LogSender(channel)  # type: ignore[arg-type]
    text = "abcdefgh" * (RECORD_LIMIT // 4)
    sender.emit(logging.LogRecord("n" * 5000, logging.WARNING, "", 0, text, None, None))
    assert "".join(line.message for line in channel.sent) == text
    assert all(len(line.message) <= RECORD_LIMIT and len(line.source) < 300 for line in channel.sent)
    channel.sent.clear()
    sender.emit(logging.LogRecord("n", logging.WARNING, "", 0, "z" * RECORD_LIMIT * 2 * BURST_LINES, None, None))
    sender.flush()
    assert BURST_LINES < len(channel.sent) <= BURST_LINES + KEPT_LINES + 1
    assert any("dropped" in line.message for line in channel.sent)

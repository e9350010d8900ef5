"""What the relay command shows of its channels."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from ai_runner_studio.cli.relay import _checked, mime_type
from ai_runner_studio.cli.relay_board import JsonBoard, LiveBoard, PlainBoard, introduction, size, table
from ai_runner_studio.errors import UsageError
from runner.live.trickle.relay_channel import ChannelStatistics

URL = "http://127.0.0.1:8935/ai/trickle/"


def channel(name: str = "stream", **changes: Any) -> ChannelStatistics:
    values: dict[str, Any] = {
        "mime_type": "video/mp2t", "head": 3, "segments": 3, "bytes_in": 1_234_567, "bytes_out": 999, "readers": 1,
        "idle_s": 1.4,
    }  # fmt: skip
    return ChannelStatistics(name=name, **{**values, **changes})


class TestTable:
    def test_a_line_for_each_channel_no_wider_than_80_cells(self) -> None:
        lines = table([channel(), channel("x" * 40, segments=0, head=99_999, bytes_in=10**9)], 20)
        assert lines[1].split() == ["stream", "3", "3", "1.2", "MB", "999", "B", "1", "1", "s", "ago"]
        assert lines[2].startswith("x" * 20 + "... ")
        assert lines[2].endswith(" -")
        assert max(map(len, lines)) < 80

    def test_what_does_not_fit_is_counted(self) -> None:
        lines = table([channel(f"c{number}") for number in range(9)], 5)
        assert [line.split()[0] for line in lines] == ["channel", "c0", "c1", "c2", "and"]
        assert lines[-1] == "and 6 more"

    def test_names_that_others_have_chosen_cannot_move_the_cursor(self) -> None:
        assert "\x1b" not in table([channel("a\x1b[2J")], 20)[1]

    @pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (41_400, "41 kB"), (3_400_000, "3.4 MB")])
    def test_sizes(self, count: int, text: str) -> None:
        assert size(count) == text


class TestBoards:
    def test_a_terminal_gets_one_block_that_is_drawn_over_itself(self) -> None:
        stream = io.StringIO()
        board = LiveBoard(stream)
        board.show([channel()])
        assert "\x1b[2F" not in stream.getvalue()
        board.show([channel(), channel("out")])
        assert "\x1b[2F\x1b[J" in stream.getvalue()

    def test_a_log_gets_a_line_when_a_channel_comes_or_goes(self) -> None:
        stream = io.StringIO()
        board = PlainBoard(stream)
        board.show([channel(segments=0, bytes_in=0, head=0)])
        board.show([channel()])  # not so soon
        board.show([])
        assert stream.getvalue().splitlines() == [
            "stream: 0 segments, 0 B in, 999 B out, 1 reader, next is 0",
            "stream: closed",
        ]

    def test_scripts_get_one_object_a_line_and_only_news(self) -> None:
        stream = io.StringIO()
        board = JsonBoard(stream)
        board.began(URL, ["stream"], autocreate=False)
        board.show([channel()])
        board.show([channel(idle_s=9.0)])
        board.show([channel(segments=4)])
        first, *rest = map(json.loads, stream.getvalue().splitlines())
        assert first == {"url": URL, "autocreate": False, "channels": {"stream": f"{URL}stream"}}
        assert [one["statistics"][0]["segments"] for one in rest] == [3, 4]


class TestChannels:
    def test_names_are_taken_once(self) -> None:
        assert _checked(["b", "a", "b"]) == ["b", "a"]

    @pytest.mark.parametrize("name", ["", "a/b", "a b", "..", "ä"])
    def test_what_is_no_name_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="--channel"):
            _checked([name])

    def test_control_and_events_are_json(self) -> None:
        names = ("stream", "stream-out", "stream-control", "stream-events")
        assert [mime_type(name) for name in names] == ["video/mp2t"] * 2 + ["application/json"] * 2

    def test_the_introduction_names_the_first_channel(self) -> None:
        assert f"curl -s {URL}mine/-1 -o next.ts" in introduction(URL, ["mine", "other"], autocreate=False)
        assert "is made when somebody publishes" in introduction(URL, [], autocreate=True)

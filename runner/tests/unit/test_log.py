"""Logs: what a line holds, and what it must not."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runner.live import log
from runner.live.log import LineWriter, configure, mask, request_ids, stream_ids


@pytest.fixture
def lines() -> Iterator[Callable[[str], io.StringIO]]:
    """A configured root logger that writes to memory."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configured(fmt: Any) -> io.StringIO:
        stream = io.StringIO()
        configure(False, fmt, stream)  # type: ignore[arg-type]
        return stream

    yield configured
    stream_ids()
    root.handlers[:] = handlers
    root.setLevel(level)


class TestMask:
    @pytest.mark.parametrize(
        ("text", "masked"),
        [
            ("Authorization: Bearer abc.def-ghi=", "Authorization: Bearer ***"),
            ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': 'Basic ***'}"),
            ("Livepeer-Session-Token: 77-aa, next", "Livepeer-Session-Token: ***, next"),
            ('{"password": "hunter2"}', '{"password": "***"}'),
            ("token sesame here", "token *** here"),  # AUTH_TOKEN's own value
            (
                "read https://u:p@orch:8935/ai/trickle/3f2a9c1e77aa-out/5?t=1, then",
                "read https://orch:8935/ai/trickle/3f2a…-out/5, then",
            ),
            ("channel 3f2a9c1e77aabbcc-out", "channel 3f2a…-out"),
        ],
    )
    def test_secrets_go(self, monkeypatch: pytest.MonkeyPatch, text: str, masked: str) -> None:
        monkeypatch.setenv("AUTH_TOKEN", "sesame")
        assert mask(text) == masked
        assert mask(masked) == masked

    @pytest.mark.parametrize(
        "text",
        [
            "Invalid bearer token.",
            "at 1767000000000000000 ns",
            "https://huggingface.co/stabilityai/sd-turbo/model.safetensors",
            "revision 3 loaded in 0.25 s (deadbeef)",
        ],
    )
    def test_all_else_stays(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("AUTH_TOKEN", "a")  # too short to be one
        assert mask(text) == text


class TestLines:
    def test_json_has_one_object_a_line(self, lines: Callable[[str], io.StringIO]) -> None:
        written = lines("json")
        stream_ids("r1", "3f2a9c1e77aabbcc", "s1")
        try:
            raise ValueError("of https://o/ai/trickle/3f2a9c1e77aabbcc?key=1")
        except ValueError:
            logging.getLogger("a.b").exception("failed\nbadly")
        (line,) = written.getvalue().splitlines()
        fields = json.loads(line)
        assert fields.pop("at").endswith("Z")
        assert "ValueError: of https://o/ai/trickle/3f2a…" in fields.pop("exception")
        assert fields == {
            "level": "ERROR", "logger": "a.b", "message": "failed\nbadly",
            "request_id": "r1", "manifest_id": "3f2a…", "stream_id": "s1",
        }  # fmt: skip

    def test_a_requests_own_ids_come_before_the_streams(self, lines: Callable[[str], io.StringIO]) -> None:
        written = lines("text")
        logging.info("none")
        stream_ids("r1", stream_id="s1")
        logging.info("of the stream")
        with request_ids("r2"):
            logging.info("of the request")
        stream_ids()
        logging.info("none again")
        assert [line.partition(": ")[2] for line in written.getvalue().splitlines()] == [
            "none", "of the stream [request_id=r1 stream_id=s1]", "of the request [request_id=r2]", "none again",
        ]  # fmt: skip

    def test_arguments_and_tracebacks_are_masked_in_text(self, lines: Callable[[str], io.StringIO]) -> None:
        written = lines("text")
        try:
            raise ValueError("Bearer hunter2")
        except ValueError:
            logging.exception("with %s", {"Authorization": "Bearer hunter2"})
        assert "ValueError: Bearer ***" in written.getvalue()
        assert "hunter2" not in written.getvalue()

    @pytest.mark.parametrize(("value", "first"), [("json", "{"), ("JSON", "{"), ("text", "2"), ("", "2")])
    def test_the_environment_says_how(
        self, lines: Callable[[Any], io.StringIO], monkeypatch: pytest.MonkeyPatch, value: str, first: str
    ) -> None:
        monkeypatch.setenv("LOG_FORMAT", value)
        monkeypatch.setenv("VERBOSE_LOGGING", "1")
        stream = lines("text")
        configure(stream=stream)
        logging.debug("seen")
        assert stream.getvalue().startswith(first)


class TestLineWriter:
    def test_a_reader_that_does_not_read_holds_nobody_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log, "LINES_WAITING", 100)
        reading, writing = os.pipe()
        with open(reading, encoding="utf-8") as reader:
            lines = LineWriter(writing)
            for number in range(2000):
                lines.write_line(f"{number} {'x' * 1000}")
            got = [reader.readline() for _ in range(20)]
            while lines._lines.full():  # until there is room again
                time.sleep(0.001)
            lines.write_line("then")
            lines.write_line("last")
            taking = threading.Thread(target=lambda: got.extend(reader.readlines()), daemon=True)
            taking.start()
            lines.close()
            os.close(writing)
            taking.join(10)
        assert got[0].startswith("0 ")
        assert got[-2:] == ["then\n", "last\n"]
        left_out = int(got[-3].split()[0].removeprefix("("))
        assert left_out + len(got) - 3 == 2000

    def test_a_reader_that_has_gone_is_no_error(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        lines = LineWriter(writing)
        lines.write("lost \ud800\n")
        lines.close()
        os.close(writing)

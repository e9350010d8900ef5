"""Logs: what a line holds, and what it must not."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runner.live import log
from runner.live.log import (
    RECORD_LIMIT,
    JsonFormatter,
    LineWriter,
    TextFormatter,
    configure,
    mask,
    request_ids,
    stream_ids,
)


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

    def test_messages_are_masked_in_json(self, lines: Callable[[str], io.StringIO]) -> None:
        written = lines("json")
        logging.error("with %s", {"Authorization": "Bearer hunter2"})
        assert json.loads(written.getvalue())["message"] == "with {'Authorization': 'Bearer ***'}"

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


NOTE = re.compile(r"^\((\d+) lines? dropped: the log was not read\)$")


def account(lines: list[str]) -> tuple[list[str], int]:
    """The lines that were written, and how many the notes between them count as dropped."""
    notes = [match for line in lines if (match := NOTE.match(line))]
    return [line for line in lines if not NOTE.match(line)], sum(int(note[1]) for note in notes)


class Pipe:
    """A `LineWriter` on a pipe, and what came out of it."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._bytes = b""
        self.writer = LineWriter(self._writing)

    def read(self) -> None:
        self._bytes += os.read(self._reading, 65536)

    def close(self) -> list[str]:
        """All lines that it has written."""
        taking = threading.Thread(target=self._read_all, daemon=True)
        taking.start()
        self.writer.close()
        self.writer._thread.join(60)
        os.close(self._writing)
        taking.join(60)
        os.close(self._reading)
        return self._bytes.decode().splitlines()

    def _read_all(self) -> None:
        while data := os.read(self._reading, 65536):
            self._bytes += data


class TestLineWriter:
    @pytest.fixture
    def pipe(self, monkeypatch: pytest.MonkeyPatch) -> Pipe:
        monkeypatch.setattr(log, "LINES_WAITING", 100)
        monkeypatch.setattr(log, "_LAST_LINES_LIMIT_S", 60.0)
        return Pipe()

    def test_a_reader_that_does_not_read_holds_nobody_up(self, pipe: Pipe) -> None:
        number = 0
        while not pipe.writer._dropped:  # the newest line is one that was dropped
            pipe.writer.write_line(f"{number} {'x' * 1000}")
            number += 1
        while pipe.writer._lines.full():
            pipe.read()
        pipe.writer.write_line("then")
        lines = pipe.close()
        written, dropped = account(lines)
        assert written[0].startswith("0 ")
        assert lines[-2:] == ["(1 line dropped: the log was not read)", "then"]
        assert len(written) + dropped == number + 1

    def test_lines_dropped_last_are_counted_at_the_end(self, pipe: Pipe) -> None:
        for number in range(2000):
            pipe.writer.write_line(f"{number} {'x' * 1000}")
        written, dropped = account(pipe.close())
        assert dropped > 0
        assert len(written) + dropped == 2000

    def test_each_line_of_each_thread_is_written_in_order_or_counted(self, pipe: Pipe) -> None:
        def write(name: str) -> None:
            for number in range(2000):
                pipe.writer.write_line(f"{name} {number}")

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        written, dropped = account(pipe.close())
        assert len(written) + dropped == 4 * 2000
        for name in "abcd":
            numbers = [int(line[2:]) for line in written if line.startswith(name)]
            assert numbers == sorted(numbers)

    def test_a_reader_that_has_gone_is_no_error(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        lines = LineWriter(writing)
        lines.write("lost \ud800\n")
        lines.close()
        os.close(writing)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_record_is_bounded_and_its_control_characters_are_visible(formatter: logging.Formatter) -> None:
    message = "start\x1b[2J\x07 m\udcffn " + "x" * 20_000_000 + " end"
    line = formatter.format(logging.LogRecord("n", logging.ERROR, "", 0, message, None, None))
    assert len(line) < RECORD_LIMIT + 1000
    assert "start" in line
    assert " end" in line
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", line)

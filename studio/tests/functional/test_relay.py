"""``ai-runner-studio relay`` as a process, and clients as its own introduction describes them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from terminals import on_terminal

PATIENCE_S = 60.0


@contextmanager
def relay(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A relay, and the address that it tells."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "ai_runner_studio", "relay", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        yield process, json.loads(first)["url"] if "--json" in arguments else first.removeprefix("relay: ").strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def statistics_until(process: subprocess.Popen[str], segments: int) -> dict[str, int]:
    """What is told of the first channel once it has so many segments."""
    assert process.stdout is not None
    for line in process.stdout:
        told: list[dict[str, int]] = json.loads(line)["statistics"]
        if told and told[0]["segments"] >= segments:
            return told[0]
    pytest.fail("the relay has ended")


def test_what_is_published_is_read_and_counted() -> None:
    with (
        relay("--json", "--channel", "mine") as (process, url),
        httpx.Client(timeout=PATIENCE_S, verify=False) as client,
    ):
        assert url.startswith("http://127.0.0.1:")
        assert statistics_until(process, 0)["readers"] == 0  # the channel is there
        for number in range(3):
            answer = client.post(f"{url}mine/-1", content=b"segment %d" % number)
            assert (answer.status_code, answer.headers["Lp-Trickle-Seq"]) == (200, str(number))
        newest = client.get(f"{url}mine/-2")
        assert (newest.content, newest.headers["Content-Type"]) == (b"segment 2", "video/mp2t")
        assert client.post(f"{url}other/0", content=b"x").status_code == 404
        told = statistics_until(process, 3)
        assert (told["head"], told["bytes_in"]) == (3, 27)


def test_without_a_name_there_are_the_channels_of_one_stream() -> None:
    with relay("--json") as (process, url), httpx.Client(timeout=PATIENCE_S, verify=False) as client:
        statistics_until(process, 0)
        names = ("stream", "stream-out", "stream-control", "stream-events")
        assert [client.get(f"{url}{name}/next").text for name in names] == ["0"] * 4


def test_autocreate_makes_channels_of_what_is_published() -> None:
    with relay("--json", "--autocreate") as (process, url), httpx.Client(timeout=PATIENCE_S, verify=False) as client:
        assert client.post(f"{url}new/0", content=b"x").status_code == 200
        assert statistics_until(process, 1)["head"] == 1


def test_the_commands_that_it_prints_are_true(tmp_path: Path) -> None:
    if subprocess.run(["curl", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no curl")
    with relay() as (process, _):
        assert process.stdout is not None
        printed = list(iter(process.stdout.readline, "\n"))  # up to the first empty line
        publish, read, newest, close = (shlex.split(line) for line in printed if line.startswith("  curl "))
        assert process.stdout.readline().startswith("stream: 0 segments")
        (tmp_path / "clip.ts").write_bytes(b"segment")
        with subprocess.Popen([*read, "--max-time", "20"], cwd=tmp_path) as reading:
            while reading.poll() is None:  # it may have come too late for the first one
                subprocess.run(publish, cwd=tmp_path, check=True, timeout=PATIENCE_S)
        subprocess.run(newest, cwd=tmp_path, check=True, timeout=PATIENCE_S)
        assert [(tmp_path / name).read_bytes() for name in ("next.ts", "newest.ts")] == [b"segment"] * 2
        subprocess.run(close, check=True, timeout=PATIENCE_S)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_its_readers_with_it(number: int, code: int) -> None:
    with relay("--json") as (process, url), httpx.Client(timeout=PATIENCE_S, verify=False) as client:
        statistics_until(process, 0)
        with client.stream("POST", f"{url}stream/0", content=iter([b"x"])):
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (code, "")


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "ai_runner_studio", "relay", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: the relay cannot listen on 127.0.0.1:{port}: address already in use" in done.stderr
    assert "hint: " in done.stderr
    assert "--port" in done.stderr


def test_on_a_terminal_it_is_one_block_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with on_terminal("relay", "--port", "0", "--channel", "mine", cwd=tmp_path) as command:
        assert command.read_until(b"mine  "), command.written
        assert command.read_until(b"F\x1b[J"), command.written  # drawn over itself
        os.write(command.terminal, b"\x03")
        os.kill(command.process.pid, signal.SIGINT)  # it is no foreground process of this terminal
        assert command.wait() == 130

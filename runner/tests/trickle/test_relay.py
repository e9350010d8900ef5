"""The relay, row by row of contract 1.1 to 1.5, over raw connections."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runner.errors import TrickleError
from runner.live.trickle.relay import IDLE_LIMIT_S, PROVISIONAL_S, STALL_LIMIT_S, TrickleRelay

from .clock import LoopClock
from .wire import LIMIT_S, RawClient, exchange, get, known, put, readers, requests, until

pytestmark = pytest.mark.quick


@pytest.fixture
async def chan(relay: TrickleRelay) -> str:
    """URL of the relay's channel, with a slash."""
    return relay.url + "chan/"


@asynccontextmanager
async def limited(**limits: Any) -> AsyncIterator[TrickleRelay]:
    """A relay with other limits, and the channel ``chan``."""
    relay = TrickleRelay(**limits)
    await relay.start()
    relay.create("chan", "application/json")
    yield relay
    await relay.close()


async def head(chan: str) -> str:
    answer, text = await exchange(chan + "next", "GET")
    assert answer.headers["lp-trickle-latest"] == text
    return text


class TestChannels:
    async def test_create_needs_autocreate_unless_it_is_there(self, relay: TrickleRelay) -> None:
        answer, text = await exchange(relay.url + "new", "POST", Expect_Content="video/mp2t")
        assert (answer.status, text) == (404, "Stream not found")
        answer, _ = await exchange(relay.url + "chan", "POST", Expect_Content="text/plain")
        assert answer.status == 200
        await put(relay.url + "chan/0", b"x", Content_Type="image/png")
        answer, _ = await get(relay.url + "chan/0")
        assert answer.headers["content-type"] == "video/mp2t"  # set once

    async def test_autocreate_takes_the_type_of_the_creation_or_of_the_first_post(self) -> None:
        relay = TrickleRelay(autocreate=True)
        await relay.start()
        await exchange(relay.url + "made", "POST", Expect_Content="text/html")
        await put(relay.url + "made/0", b"x", Content_Type="image/png")
        await put(relay.url + "posted/0", b"x", Content_Type="image/png")
        assert (await get(relay.url + "made/0"))[0].headers["content-type"] == "text/html"
        assert (await get(relay.url + "posted/0"))[0].headers["content-type"] == "image/png"
        assert (await exchange(relay.url + "unread/0", "GET"))[0].status == 404
        await relay.close()

    async def test_delete_removes_it(self, relay: TrickleRelay, chan: str) -> None:
        answer, _ = await exchange(relay.url + "chan", "DELETE")
        assert answer.status == 200
        answer, text = await exchange(relay.url + "chan", "DELETE")
        assert (answer.status, text) == (400, "Invalid stream")
        for part in ("0", "next"):
            answer, text = await exchange(chan + part, "GET")
            assert (answer.status, text) == (404, "Stream not found")

    async def test_next_tells_the_head(self, chan: str) -> None:
        assert await head(chan) == "0"
        await put(chan + "4", b"x")
        assert await head(chan) == "5"

    async def test_there_is_no_form_with_a_slash_at_the_end(self, relay: TrickleRelay) -> None:
        for method, path in (("GET", "chan/0/"), ("POST", "chan/"), ("DELETE", "chan/"), ("GET", "chan/next/")):
            assert (await exchange(relay.url + path, method))[0].status == 404

    async def test_an_idle_channel_is_swept_unless_its_name_begins_with_an_underscore(
        self, relay: TrickleRelay, clock: LoopClock
    ) -> None:
        relay.create("_kept", "text/plain")
        async with RawClient(relay.url + "chan/0") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            clock.move(IDLE_LIMIT_S / 2)
            assert await reader.silent()
            clock.move(IDLE_LIMIT_S)
            assert (await reader.head()).trickle()["closed"] == "terminated"
        assert [channel.name for channel in relay.channels()] == ["_kept"]

    async def test_more_channels_than_the_limit_are_refused(self) -> None:
        async with limited(channels_limit=2) as relay:
            relay.create("two", "")
            with pytest.raises(TrickleError, match="2 channels"):
                relay.create("three", "")

    async def test_the_changefeed_tells_what_comes_and_goes(self) -> None:
        relay = TrickleRelay(changefeed=True, autocreate=True)
        await relay.start()
        relay.create("a", "")
        await exchange(relay.url + "b", "POST")
        relay.close_channel("a")
        told = [(await get(f"{relay.url}_changes/{seq}"))[1] for seq in range(4)]
        changes = (b'{"added":["_changes"]}', b'{"added":["a"]}', b'{"added":["b"]}', b'{"removed":["a"]}')
        assert told == list(changes)
        await relay.close()

    async def test_an_orchestrator_has_no_changefeed(self, relay: TrickleRelay) -> None:
        assert (await exchange(relay.url + "_changes/-1", "GET"))[0].status == 404


class TestPost:
    async def test_done(self, chan: str) -> None:
        answer = await put(chan + "0", b"abc", b"def")
        assert (answer.status, answer.trickle()) == (200, {"seq": "0"})
        assert (await get(chan + "0"))[1] == b"abcdef"

    async def test_a_body_with_its_length_is_taken_too(self, chan: str) -> None:
        async with RawClient(chan + "0") as client:
            client.send("POST", Content_Length="3")
            client.writer.write(b"abc")
            assert (await client.head()).status == 200
        assert (await get(chan + "0"))[1] == b"abc"

    async def test_minus_one_is_written_at_the_head(self, chan: str) -> None:
        await put(chan + "6", b"x")
        assert (await put(chan + "-1", b"y")).trickle() == {"seq": "7"}
        assert (await get(chan + "7"))[1] == b"y"

    async def test_a_preconnect_that_ends_moves_the_head(self, chan: str) -> None:
        answer = await put(chan + "3")
        assert (answer.status, answer.trickle()) == (200, {"seq": "3", "connection": "close"})
        assert await head(chan) == "4"

    async def test_a_closed_channel_ends_a_post_that_waits(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as client:
            client.post()
            await until(lambda: known(relay, 0))
            assert await client.silent()
            relay.close_channel("chan")
            answer = await client.head()
        assert answer.status == 200
        assert answer.trickle() == {"seq": "0", "closed": "terminated", "connection": "close"}

    async def test_an_unknown_channel(self, relay: TrickleRelay) -> None:
        answer, text = await exchange(relay.url + "none/0", "POST")
        assert (answer.status, text, answer.trickle()) == (404, "Stream not found", {"connection": "close"})
        async with RawClient(relay.url + "none/0") as client:  # with its body still open
            client.post()
            assert (await client.head()).status == 404

    @pytest.mark.parametrize("part", ["x", "1x", "1_0", "%31 ", "9" * 40, "１"])
    async def test_not_a_number(self, chan: str, part: str) -> None:
        for method in ("POST", "GET", "DELETE"):
            if " " in part or not part.isascii():
                continue
            answer, text = await exchange(chan + part, method)
            assert (answer.status, text) == (400, "Invalid idx")

    @pytest.mark.parametrize(("method", "part"), [("POST", "-2"), ("POST", "-7"), ("GET", "-3"), ("DELETE", "-1")])
    async def test_numbers_without_an_answer(self, chan: str, method: str, part: str) -> None:
        async with RawClient(chan + part) as client:
            client.send(method)
            assert await client.rest() == b""
        assert await head(chan) == "0"

    async def test_a_number_that_is_complete_moves_the_head_back(self, chan: str) -> None:
        for seq in range(3):
            await put(f"{chan}{seq}", b"first")
        answer = await put(chan + "1", b"second")
        assert (answer.status, answer.trickle()) == (200, {"seq": "1", "connection": "close"})
        assert await head(chan) == "2"
        assert (await get(chan + "1"))[1] == b"first"

    async def test_the_head_moves_at_the_first_byte(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as client:
            client.post()
            await until(lambda: known(relay, 0))
            assert await client.silent()
            assert await head(chan) == "0"
            client.chunk(b"x")
            await until(lambda: relay.channels()[0].head == 1)

    async def test_a_publisher_that_waits_is_told_so(self, relay: TrickleRelay, chan: str, clock: LoopClock) -> None:
        async with RawClient(chan + "0") as client:
            client.post()
            await until(lambda: known(relay, 0))
            for _ in range(3):
                assert await client.silent()
                clock.move(PROVISIONAL_S)
                assert (await client.head()).status == 100
            client.chunk(b"x")
            client.end()
            answer = await client.head()
        assert answer.trickle() == {"seq": "0"}
        assert (await get(chan + "0"))[1] == b"x"

    async def test_a_post_that_breaks_off_leaves_the_segment_open_and_the_next_one_appends(self, chan: str) -> None:
        async with RawClient(chan + "0") as reader:
            reader.send("GET")
            async with RawClient(chan + "0") as client:
                client.post()
                client.chunk(b"before ")
                await reader.head()
                assert await reader.next_chunk() == b"before "
                client.writer.transport.abort()
            assert await reader.silent()
            await put(chan + "0", b"after")
            assert await reader.body() == b"after"

    async def test_reset_ends_older_segments_and_no_newer_ones(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as old, RawClient(chan + "0") as hanging, RawClient(chan + "2") as newer:
            old.post()
            old.chunk(b"half")
            hanging.send("GET")
            await hanging.head()
            newer.post()
            await until(lambda: known(relay, 2))
            await put(chan + "1", b"anew", Lp_Trickle_Reset="1")
            assert await hanging.body() == b"half"
            newer.chunk(b"newer")
            newer.end()
            assert (await newer.head()).trickle() == {"seq": "2"}
        assert (await get(chan + "1"))[1] == b"anew"
        assert (await get(chan + "2"))[1] == b"newer"

    async def test_a_segment_has_a_limit(self) -> None:
        async with limited(segment_limit_bytes=100_000) as relay:
            async with RawClient(relay.url + "chan/0") as client:
                client.post()
                client.chunk(b"x" * 60_000)
                await until(lambda: relay.channels()[0].bytes_in == 60_000)
                client.chunk(b"x" * 60_000)
                assert (await client.head()).status == 413
            assert 60_000 <= len((await get(relay.url + "chan/0"))[1]) <= 100_000

    async def test_the_first_byte_is_told(self) -> None:
        told: list[tuple[str, int]] = []
        relay = TrickleRelay(first_byte=lambda channel, seq, at_ns: told.append((channel, seq)) if at_ns else None)
        await relay.start()
        relay.create("a", "")
        await put(relay.url + "a/0", b"x", b"y")
        await put(relay.url + "a/1")
        assert told == [("a", 0)]
        await relay.close()


class TestGet:
    async def test_headers_come_with_the_first_byte_and_chunks_as_they_are_written(
        self, relay: TrickleRelay, chan: str
    ) -> None:
        async with RawClient(chan + "0") as reader, RawClient(chan + "0") as writer:
            reader.send("GET")
            writer.post()
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            for number in range(3):
                writer.chunk(b"chunk %d" % number)
                if not number:
                    answer = await reader.head()
                    assert answer.trickle() == {"seq": "0"}
                    assert answer.headers["transfer-encoding"] == "chunked"
                assert await reader.next_chunk() == b"chunk %d" % number
                assert await reader.silent(0.02)
            writer.end()
            assert await reader.next_chunk() == b""

    async def test_a_reader_in_the_middle_gets_what_is_there_then_the_rest(
        self, relay: TrickleRelay, chan: str
    ) -> None:
        async with RawClient(chan + "0") as writer, RawClient(chan + "0") as reader:
            writer.post()
            writer.chunk(b"a" * 1000)
            writer.chunk(b"b" * 1000)
            await until(lambda: relay.channels()[0].bytes_in == 2000)
            reader.send("GET")
            answer = await reader.head()
            assert answer.trickle() == {"seq": "0", "latest": "1"}
            assert await reader.next_chunk() == b"a" * 1000 + b"b" * 1000
            writer.chunk(b"c")
            assert await reader.next_chunk() == b"c"

    async def test_latest_is_told_if_it_is_not_the_head(self, chan: str) -> None:
        for seq in range(3):
            await put(f"{chan}{seq}", b"%d" % seq)
        answer, data = await get(chan + "1")
        assert (answer.trickle(), data) == ({"seq": "1", "latest": "3"}, b"1")

    async def test_the_window_has_five(self, chan: str) -> None:
        for seq in range(7):
            await put(f"{chan}{seq}", b"%d" % seq)
        assert [(await exchange(f"{chan}{seq}", "GET"))[0].status for seq in (0, 1)] == [470, 470]
        assert [(await get(f"{chan}{seq}"))[1] for seq in range(2, 7)] == [b"2", b"3", b"4", b"5", b"6"]

    async def test_a_segment_out_of_the_window_is_read_to_its_end(self, chan: str) -> None:
        async with RawClient(chan + "0") as writer, RawClient(chan + "0") as reader:
            writer.post()
            writer.chunk(b"old")
            reader.send("GET")
            await reader.head()
            await put(chan + "5", b"new")  # the same place
            assert await reader.body() == b"old"

    async def test_470_where_the_segment_is_not_there(self, chan: str) -> None:
        await put(chan + "2", b"x")
        for part in ("0", "4", "17"):
            answer, text = await exchange(chan + part, "GET")
            told = {"seq": part, "latest": "3", "connection": "close"}
            assert (answer.status, answer.trickle(), text) == (470, told, "Entry not found")

    async def test_minus_one_waits_for_the_next_segment(self, relay: TrickleRelay, chan: str) -> None:
        await put(chan + "0", b"old")
        async with RawClient(chan + "-1") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            await put(chan + "1", b"new")
            assert (await reader.head()).trickle() == {"seq": "1"}
            assert await reader.body() == b"new"

    async def test_minus_two_is_the_current_segment_or_the_first(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "-2") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            await put(chan + "0", b"zero")
            assert (await reader.head()).trickle()["seq"] == "0"
        await put(chan + "1", b"one")
        assert (await get(chan + "-2"))[1] == b"one"

    async def test_one_ahead_waits_and_further_does_not(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as first, RawClient(chan + "1") as second:
            first.send("GET")
            second.send("GET")
            await until(lambda: readers(relay) == 2)
            assert await first.silent()
            assert await second.silent()
            assert (await exchange(chan + "2", "GET"))[0].status == 470
            await put(chan + "0", b"0")
            assert await put(chan + "1", b"1")
            assert [(await first.head()).trickle()["seq"], (await second.head()).trickle()["seq"]] == ["0", "1"]

    async def test_closed_without_data(self, relay: TrickleRelay, chan: str) -> None:
        await put(chan + "0")
        answer, text = await exchange(chan + "0", "GET")
        assert (answer.status, answer.trickle(), text) == (200, {"seq": "0", "latest": "1", "connection": "close"}, "")
        async with RawClient(chan + "1") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            relay.close_channel("chan")
            assert (await reader.head()).trickle() == {"seq": "1", "latest": "1", "closed": "terminated"}

    async def test_a_dropped_segment_without_data_keeps_the_head(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as reader, RawClient(chan + "0") as writer:
            writer.post()
            await until(lambda: known(relay, 0))
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            assert (await exchange(chan + "0", "DELETE"))[0].status == 200
            assert (await reader.head()).trickle() == {"seq": "0", "latest": "0"}
            # The publisher is told that its number is used up, which moves the head.
            assert (await writer.head()).trickle() == {"seq": "0", "connection": "close"}
        async with RawClient(chan + "1") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            assert await reader.silent()
            await exchange(chan + "1", "DELETE")
        for _ in range(2):
            assert (await exchange(chan + "-1", "GET"))[0].trickle()["seq"] == "1"

    async def test_delete_of_a_segment(self, relay: TrickleRelay, chan: str) -> None:
        answer, text = await exchange(relay.url + "none/0", "DELETE")
        assert (answer.status, text) == (404, "Stream not found")
        answer, text = await exchange(chan + "0", "DELETE")
        assert (answer.status, text) == (400, "Nonexistent segment")


class TestReaders:
    async def test_a_slow_reader_holds_up_nobody(self, relay: TrickleRelay, chan: str) -> None:
        piece = b"x" * 500_000
        async with RawClient(chan + "0") as slow, RawClient(chan + "0") as writer:
            slow.send("GET")
            writer.post()
            for _ in range(20):
                writer.chunk(piece)
                await writer.writer.drain()
            writer.end()
            assert (await writer.head()).status == 200
            assert len((await get(chan + "0"))[1]) == 20 * len(piece)
            # More than the connection holds waits in the segment alone, for all readers.
            assert relay.channels()[0].bytes_out < 2 * 20 * len(piece)
            await slow.head()
            assert len(await slow.body()) == 20 * len(piece)

    async def test_a_reader_that_takes_nothing_is_let_go(
        self, relay: TrickleRelay, chan: str, clock: LoopClock
    ) -> None:
        sent = 40 * 500_000  # more than both ends of a connection hold
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.setblocking(False)
            host, port = relay.url.split("/")[2].split(":")
            await asyncio.get_running_loop().sock_connect(stalled, (host, int(port)))
            await asyncio.get_running_loop().sock_sendall(
                stalled, b"GET /ai/trickle/chan/0 HTTP/1.1\r\nHost: t\r\n\r\n"
            )
            await until(lambda: readers(relay) == 1)
            assert (await put(chan + "0", *[b"x" * 500_000] * 40)).status == 200
            clock.move(STALL_LIMIT_S / 2)
            await exchange(chan + "next", "GET")  # the relay had its turn
            assert readers(relay) == 1
            clock.move(STALL_LIMIT_S)
            await until(lambda: readers(relay) == 0)
        assert relay.channels()[0].bytes_out < sent

    async def test_a_reader_that_goes_is_forgotten(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as reader:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
        await until(lambda: readers(relay) == 0)

    async def test_statistics(self, relay: TrickleRelay, chan: str) -> None:
        await put(chan + "0", b"abc")
        await get(chan + "0")
        await get(chan + "-2")
        [told] = relay.channels()
        assert (told.name, told.mime_type, told.head, told.segments) == ("chan", "video/mp2t", 1, 1)
        assert (told.bytes_in, told.bytes_out, told.readers) == (3, 6, 0)


class TestRunning:
    async def test_close_tells_everybody_and_is_safe_twice(self, relay: TrickleRelay, chan: str) -> None:
        async with RawClient(chan + "0") as reader, RawClient(chan + "0") as writer:
            reader.send("GET")
            await until(lambda: readers(relay) == 1)
            writer.post()
            await until(lambda: requests(relay) == 2)
            assert await reader.silent()
            await relay.close()
            await relay.close()
            assert (await reader.head()).trickle()["closed"] == "terminated"
            assert (await writer.head()).trickle()["closed"] == "terminated"

    async def test_a_port_that_is_taken(self, relay: TrickleRelay) -> None:
        port = int(relay.url.split(":")[2].split("/")[0])
        with pytest.raises(TrickleError, match=f"cannot listen on 127.0.0.1:{port}.*port 0"):
            await TrickleRelay().start(port=port)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_the_command_line(self, number: signal.Signals) -> None:
        command = [sys.executable, "-m", "runner.live.trickle.relay", "--autocreate"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        assert (await put(url + "a/0", b"x")).status == 200
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0

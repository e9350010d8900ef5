"""The subscriber against the relay and against a server that misbehaves by script (contract 1.4 and 1.6)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from runner.errors import ChannelGone, TrickleError
from runner.live.trickle import TrickleSubscriber
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.subscriber import REFRESH_S, RETRY_DELAY_S, SILENCE_S, EndReason, Segment

from .clock import LoopClock, kept_port
from .wire import LIMIT_S, Exchange, RawClient, ScriptedServer, exchange, put, readers, requests, until

pytestmark = pytest.mark.quick


async def whole(segment: Segment | None) -> bytes:
    assert segment is not None
    data = b""
    while chunk := await segment.read():
        data += chunk
    return data


class TestWithRelay:
    async def test_segments_in_order_with_one_request_ahead(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber:
            for seq in range(12):
                await put(f"{url}/{seq}", b"%d" % seq, b"!")
                segment = await subscriber.next()
                assert segment is not None
                assert (segment.seq(), segment.eos(), segment.broken) == (seq, False, False)
                assert await whole(segment) == b"%d!" % seq
                await until(lambda: readers(relay) == 1)  # waits for the next one already
                assert await segment.read() == b""
        await until(lambda: readers(relay) == 0)

    async def test_data_comes_while_it_is_written(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber, RawClient(url + "/0") as writer:
            writer.post()
            writer.chunk(b"first")
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"first"
            writer.chunk(b"second")
            assert await segment.read(3) == b"sec"
            assert await segment.read() == b"ond"
            writer.end()
            assert await segment.read() == b""
            assert not segment.broken

    async def test_after_a_jump_the_newest_segment_is_read_where_that_counts(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url, newest_counts=True) as subscriber:
            await put(f"{url}/0", b"0")
            assert await whole(await subscriber.next()) == b"0"
            await until(lambda: readers(relay) == 1)  # waits for 1
            for seq in range(1, 8):
                await put(f"{url}/{seq}", b"%d" % seq)
            assert await whole(await subscriber.next()) == b"1"
            assert await whole(await asyncio.wait_for(subscriber.next(), LIMIT_S)) == b"7"
            assert subscriber.jumps == 1

    async def test_it_starts_at_the_segment_being_written(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        for seq in range(4):
            await put(f"{url}/{seq}", b"%d" % seq)
        async with TrickleSubscriber(url) as subscriber:
            assert await whole(await subscriber.next()) == b"3"

    async def test_it_starts_at_the_live_edge_or_at_a_number(self, relay: TrickleRelay, clock: LoopClock) -> None:
        url = relay.url + "chan"
        for seq in range(4):
            await put(f"{url}/{seq}", b"%d" % seq)
        async with TrickleSubscriber(url, start_seq=2) as subscriber:
            assert await whole(await subscriber.next()) == b"2"
        async with TrickleSubscriber(url, start_seq=-1) as subscriber:
            waiting = asyncio.create_task(subscriber.next())
            await until(lambda: readers(relay) == 1)
            for _ in range(3):
                asked = requests(relay)
                clock.move(REFRESH_S)
                await until(lambda asked=asked: requests(relay) == asked + 1)  # type: ignore[misc]
            await put(url + "/4", b"4")
            assert await whole(await waiting) == b"4"

    async def test_a_closed_channel_is_the_end(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber:
            await put(url + "/0", b"x")
            assert await whole(await subscriber.next()) == b"x"
            await until(lambda: readers(relay) == 1)
            relay.close_channel("chan")
            assert await subscriber.next() is None
            assert await subscriber.next() is None
            assert (subscriber.end_reason, subscriber.error) == (EndReason.ENDED, None)

    async def test_a_channel_that_was_removed_meanwhile_is_the_end_too(
        self, relay: TrickleRelay, clock: LoopClock
    ) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber:
            await put(url + "/0", b"x")
            await whole(await subscriber.next())
            await until(lambda: readers(relay) == 1)
            channel = relay._channels.pop("chan")  # gone without a word to those who wait
            clock.move(REFRESH_S)
            assert await subscriber.next() is None
            assert (subscriber.end_reason, subscriber.error) == (EndReason.GONE, None)
            channel.close()

    async def test_no_channel_at_all(self, relay: TrickleRelay) -> None:
        async with TrickleSubscriber(relay.url + "none-such-channel") as subscriber:
            assert await subscriber.next() is None
            assert subscriber.end_reason is EndReason.NOT_FOUND
            assert isinstance(subscriber.error, ChannelGone)
            assert "none…" in str(subscriber.error)

    async def test_one_that_fell_behind_goes_on_at_the_head(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url, start_seq=0) as subscriber:
            await put(url + "/0", b"0")
            await whole(await subscriber.next())
            await until(lambda: readers(relay) == 1)  # the request for 1 waits until its place is taken
            for seq in range(20, 23):
                await put(f"{url}/{seq}", b"%d" % seq)
            segment = await subscriber.next()
            assert segment is not None
            assert segment.seq() == 1  # empty: its place was taken by 21
            assert segment.empty
            following = asyncio.create_task(subscriber.next())
            await until(lambda: subscriber.jumps == 1)
            await put(url + "/23", b"23")
            assert await whole(await following) == b"23"

    async def test_a_dropped_segment_is_no_busy_loop(self, relay: TrickleRelay, clock: LoopClock) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber:
            await put(url + "/0", b"0")
            await whole(await subscriber.next())
            await until(lambda: readers(relay) == 1)
            await exchange(url + "/1", "DELETE")
            segment = await subscriber.next()
            assert segment is not None
            assert (segment.seq(), segment.empty, await segment.read()) == (1, True, b"")
            following = asyncio.create_task(subscriber.next())
            asked, pauses = requests(relay), 0
            while requests(relay) < asked + 8:  # more than five tries: the budget is for failures
                clock.move(RETRY_DELAY_S)
                pauses += 1
                await asyncio.sleep(0.005)
            assert requests(relay) <= asked + 1 + pauses  # the first may have been on its way
            assert not following.done()
            await put(url + "/2", b"2")
            assert await whole(await following) == b"2"
            assert subscriber.jumps == 0

    async def test_close_is_immediate_and_safe_twice_and_frees_whoever_waits(self, relay: TrickleRelay) -> None:
        subscriber = TrickleSubscriber(relay.url + "chan")
        waiting = asyncio.create_task(subscriber.next())
        await until(lambda: readers(relay) == 1)
        await asyncio.gather(subscriber.close(), subscriber.close())
        assert await asyncio.wait_for(waiting, LIMIT_S) is None
        assert await subscriber.next() is None
        assert subscriber.end_reason is EndReason.CLOSED
        await until(lambda: readers(relay) == 0)

    async def test_close_ends_a_read_under_way(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        subscriber = TrickleSubscriber(url)
        async with RawClient(url + "/0") as writer:
            writer.post()
            writer.chunk(b"x")
            segment = await subscriber.next()
            assert segment is not None
            await segment.read()
            reading = asyncio.create_task(segment.read())
            await asyncio.sleep(0)  # it has begun to wait
            await subscriber.close()
            assert await asyncio.wait_for(reading, LIMIT_S) == b""
            assert not segment.broken

    async def test_close_before_anything(self) -> None:
        await TrickleSubscriber("http://127.0.0.1:1/x").close()

    async def test_a_cancelled_next_loses_nothing(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        async with TrickleSubscriber(url) as subscriber:
            for seq in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(subscriber.next(), 0.03)
                await put(f"{url}/{seq}", b"%d" % seq)
                assert await whole(await subscriber.next()) == b"%d" % seq

    async def test_a_relay_that_is_gone_and_back(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with kept_port() as port:
            relay = TrickleRelay()
            await relay.start(port=port)
            relay.create("chan", "video/mp2t")
            url = relay.url + "chan"
            async with TrickleSubscriber(url, start_seq=0, retry_delay_s=0.01, max_retries=100_000) as subscriber:
                await put(url + "/0", b"0")
                await whole(await subscriber.next())
                await until(lambda: readers(relay) == 1)
                del relay._channels["chan"]
                await relay.close()  # as if it was killed: no answer to those who wait
                following = asyncio.create_task(subscriber.next())
                await until(lambda: "refused; trying again" in caplog.text)
                again = TrickleRelay()
                await again.start(port=port)
                again.create("chan", "video/mp2t")
                await put(url + "/1", b"1")
                assert await whole(await following) == b"1"
                await again.close()


class TestWithScript:
    async def test_errors_are_retried_within_the_budget(self) -> None:
        async def script(request: Exchange) -> None:
            if request.number in (1, 2, 5, 6):
                request.answer(500 if request.number % 2 else 503, b"Server error")
            elif request.number == 3:
                request.reset()
            elif request.number in (4, 7):
                request.segment(int(request.part) if request.part != "-2" else 0, b"data %d" % request.number)
            else:
                request.answer(404)

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url, retry_delay_s=0.01) as subscriber:
            assert await whole(await subscriber.next()) == b"data 4"
            assert await whole(await subscriber.next()) == b"data 7"  # the count began anew
            assert await subscriber.next() is None
            assert subscriber.end_reason is EndReason.GONE
            assert server.asked == ["GET -2"] * 4 + ["GET 1"] * 3 + ["GET 2"]
            assert {headers["connection"] for headers in server.headers} == {"close"}

    @pytest.mark.parametrize("status", [500, 503, 418, 302])
    async def test_the_budget_ends(self, status: int) -> None:
        async def script(request: Exchange) -> None:
            request.answer(status, Location="/elsewhere")

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url, retry_delay_s=0.01) as subscriber:
            assert await subscriber.next() is None
            assert len(server.asked) == 5
            assert subscriber.end_reason is EndReason.FAILED
            assert isinstance(subscriber.error, TrickleError)
            assert f"answered {status} (5 tries)" in str(subscriber.error)

    async def test_nobody_listens(self) -> None:
        async def script(request: Exchange) -> None:
            await request.hold()

        async with ScriptedServer(script) as server:
            await server.vanish()
            async with TrickleSubscriber(server.url, retry_delay_s=0.01) as subscriber:
                assert await subscriber.next() is None
                assert subscriber.end_reason is EndReason.FAILED
                assert "refused" in str(subscriber.error)

    async def test_470_again_and_again_ends(self) -> None:
        async def script(request: Exchange) -> None:
            request.answer(470, Lp_Trickle_Latest=str(request.number + 10), Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url, retry_delay_s=0.01) as subscriber:
            assert await subscriber.next() is None
            assert server.asked == ["GET -2", "GET 11", "GET 12", "GET 13", "GET 14"]
            assert subscriber.end_reason is EndReason.FAILED

    async def test_470_again_and_again_is_no_failure_where_the_newest_counts_and_there_is_a_newer_one(self) -> None:
        async def script(request: Exchange) -> None:
            if request.number < 20:
                request.answer(470, Lp_Trickle_Latest=str(request.number + 10), Lp_Trickle_Seq=request.part)
            elif request.number == 20:
                request.answer(200, b"newest", Lp_Trickle_Seq=request.part)

        async with (
            ScriptedServer(script) as server,
            TrickleSubscriber(server.url, retry_delay_s=0.01, newest_counts=True) as subscriber,
        ):
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"newest"
            assert subscriber.jumps == 19

    async def test_470_without_a_number_goes_to_the_live_edge(self) -> None:
        async def script(request: Exchange) -> None:
            if request.part == "-2":
                request.answer(470)
            elif request.part == "next":
                request.answer(200, b"7", Lp_Trickle_Latest="7")
            else:
                request.segment(int(request.part), b"x")

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url) as subscriber:
            assert await whole(await subscriber.next()) == b"x"
            assert server.asked[:3] == ["GET -2", "GET next", "GET 7"]

    async def test_a_cut_in_the_middle_ends_the_segment_and_not_the_stream(self) -> None:
        async def script(request: Exchange) -> None:
            if request.number == 1:
                request.begin(200, Lp_Trickle_Seq="3", Transfer_Encoding="chunked")
                request.writer.write(b"4\r\nhalf\r\n")
                await read.wait()
                request.reset()
            else:
                request.segment(int(request.part), b"whole")

        read = asyncio.Event()
        async with ScriptedServer(script) as server, TrickleSubscriber(server.url) as subscriber:
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"half"
            read.set()
            assert await segment.read() == b""
            assert segment.broken
            segment = await subscriber.next()
            assert await whole(segment) == b"whole"
            assert segment is not None
            assert (segment.seq(), segment.broken) == (4, False)

    async def test_silence_in_the_middle_ends_the_segment(
        self, caplog: pytest.LogCaptureFixture, clock: LoopClock
    ) -> None:
        async def script(request: Exchange) -> None:
            if request.number == 1:
                request.begin(200, Lp_Trickle_Seq="0", Transfer_Encoding="chunked")
                request.writer.write(b"4\r\nhalf\r\n")
                await request.hold()
            else:
                request.segment(1, b"whole")

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url) as subscriber:
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"half"
            reading = asyncio.create_task(segment.read())
            await asyncio.sleep(0)
            clock.move(SILENCE_S)
            assert await reading == b""
            assert segment.broken
            assert await whole(await subscriber.next()) == b"whole"
        assert "no data of segment 0 for 30 s" in caplog.text

    async def test_a_request_that_is_never_answered_is_made_anew_one_at_a_time(self, clock: LoopClock) -> None:
        async def script(request: Exchange) -> None:
            if request.number < 8:
                await request.hold()
            else:
                request.segment(0, b"at last")

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url) as subscriber:
            following = asyncio.create_task(subscriber.next())
            for number in range(1, 8):
                await until(lambda number=number: len(server.asked) == number)  # type: ignore[misc]
                clock.move(REFRESH_S)
            assert await whole(await following) == b"at last"
            assert server.asked[:8] == ["GET -2"] * 8

    async def test_never_more_than_one_request_ahead(self) -> None:
        async def script(request: Exchange) -> None:
            seq = max(0, int(request.part))
            request.begin(200, Lp_Trickle_Seq=str(seq), Transfer_Encoding="chunked")
            request.writer.write(b"1\r\nx\r\n")
            await request.hold()

        async with ScriptedServer(script) as server, TrickleSubscriber(server.url) as subscriber:
            segment = await subscriber.next()
            assert segment is not None
            await until(lambda: len(server.asked) == 2)
            await asyncio.sleep(0.05)
            assert (server.asked, server.most_open) == (["GET -2", "GET 1"], 2)

    async def test_a_query_stays_at_the_end_and_out_of_the_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        lines: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[0])
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/ai/trickle/s3cr3t-channel?token=t0ken"
        async with TrickleSubscriber(url, retry_delay_s=0.001) as subscriber:
            assert await subscriber.next() is None
            assert lines[0] == "GET /ai/trickle/s3cr3t-channel/-2?token=t0ken HTTP/1.1"
            for text in (caplog.text, str(subscriber.error)):
                assert "s3cr…" in text
                assert "s3cr3t-channel" not in text
                assert "t0ken" not in text
        server.close()

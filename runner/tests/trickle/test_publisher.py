"""The publisher against the relay and against a server that misbehaves by script (contract 1.3 and 1.6)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from runner.errors import ChannelGone, TrickleError
from runner.live.trickle import TricklePublisher, TrickleSubscriber
from runner.live.trickle.post import PostOptions
from runner.live.trickle.publisher import CLOSE_LIMIT_S, SegmentWriter
from runner.live.trickle.relay import TrickleRelay

from .clock import LoopClock, kept_port
from .wire import LIMIT_S, Exchange, RawClient, ScriptedServer, exchange, get, known, put, until

pytestmark = pytest.mark.quick

TYPE = "video/mp2t"
QUICK = PostOptions(retry_delay_s=0.01)


@pytest.fixture
async def publisher(relay: TrickleRelay) -> AsyncIterator[TricklePublisher]:
    async with TricklePublisher(relay.url + "chan", TYPE, options=QUICK, close_limit_s=LIMIT_S) as publisher:
        yield publisher


async def publish(publisher: TricklePublisher, *chunks: bytes) -> SegmentWriter:
    """A whole segment, taken by the server."""
    async with await publisher.next() as segment:
        for chunk in chunks:
            await segment.write(chunk)
    await segment.done()
    return segment


class TestWithRelay:
    async def test_segments_have_numbers_from_zero(self, relay: TrickleRelay, publisher: TricklePublisher) -> None:
        for seq in range(12):
            segment = await publish(publisher, b"%d" % seq, b"!")
            assert segment.seq() == seq
            assert (await get(f"{relay.url}chan/{seq}"))[1] == b"%d!" % seq
        assert (publisher.lost, publisher.error) == (0, None)

    async def test_writes_go_out_as_they_come(self, relay: TrickleRelay, publisher: TricklePublisher) -> None:
        async with RawClient(relay.url + "chan/0") as reader, await publisher.next() as segment:
            reader.send("GET")
            for number in range(3):
                await segment.write(b"chunk %d" % number)
                if not number:
                    await reader.head()
                assert await reader.next_chunk() == b"chunk %d" % number

    async def test_the_next_post_is_open_when_a_segment_is_taken(self) -> None:
        reached: list[str] = []

        async def script(request: Exchange) -> None:
            reached.append(request.part)
            await request.drain_body()
            request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE, close_limit_s=0.2) as publisher:
            segment = await publisher.next()
            # Before there is a byte of either: aiohttp would keep the headers back until then.
            await until(lambda: sorted(reached) == ["0", "1"])
            assert {headers["connection"] for headers in server.headers} == {"close"}
            assert {headers["content-type"] for headers in server.headers} == {TYPE}
            await segment.close()
            await segment.done()
            await asyncio.sleep(0.05)
            assert sorted(reached) == ["0", "1"]

    async def test_large_writes_arrive_whole(self, relay: TrickleRelay, publisher: TricklePublisher) -> None:
        data = bytes(range(256)) * 20_000
        await publish(publisher, memoryview(data), b"", bytearray(b"end"))  # type: ignore[arg-type]
        assert (await get(relay.url + "chan/0"))[1] == data + b"end"

    async def test_close_deletes_the_channel_after_what_is_under_way(self, relay: TrickleRelay) -> None:
        url = relay.url + "chan"
        publisher = TricklePublisher(url, TYPE, close_limit_s=LIMIT_S)
        async with TrickleSubscriber(url) as subscriber:
            segment = await publisher.next()
            await segment.write(b"last")
            read = await subscriber.next()
            await segment.write(b" words")
            await publisher.close()
            await publisher.close()
            assert read is not None
            assert await read.read() + await read.read() == b"last words"
            assert await subscriber.next() is None
        assert relay.channels() == []
        with pytest.raises(TrickleError, match="is closed"):
            await publisher.next()

    async def test_close_without_delete_keeps_the_channel_and_another_publisher_goes_on(
        self, relay: TrickleRelay
    ) -> None:
        url = relay.url + "chan"
        first = TricklePublisher(url, TYPE, close_limit_s=LIMIT_S)
        await publish(first, b"0")
        await first.close(delete=False)
        async with TricklePublisher(url, TYPE, start_seq=None) as second:
            segment = await publish(second, b"again")
            assert segment.seq() == relay.channels()[0].head - 1 == 2  # 1 was the first one's open request
            assert (await get(url + "/2"))[1] == b"again"

    async def test_close_of_one_that_never_published_deletes_too(self, relay: TrickleRelay) -> None:
        await TricklePublisher(relay.url + "chan", TYPE, close_limit_s=LIMIT_S).close()
        assert relay.channels() == []

    async def test_close_at_the_same_time(self, relay: TrickleRelay) -> None:
        publisher = TricklePublisher(relay.url + "chan", TYPE, close_limit_s=LIMIT_S)
        await publish(publisher, b"x")
        await asyncio.gather(*(publisher.close() for _ in range(3)))
        assert relay.channels() == []

    async def test_no_channel(self, relay: TrickleRelay) -> None:
        async with TricklePublisher(relay.url + "none-such-channel", TYPE) as publisher:
            segment = await publisher.next()
            with pytest.raises(ChannelGone, match="none…"):
                await segment.done()
            with pytest.raises(ChannelGone):
                await segment.write(b"x")
            with pytest.raises(ChannelGone):
                await publisher.next()
        async with TricklePublisher(relay.url + "none", TYPE, start_seq=None) as publisher:
            with pytest.raises(ChannelGone):
                await publisher.next()

    async def test_a_channel_that_the_other_side_closes(self, relay: TrickleRelay, publisher: TricklePublisher) -> None:
        await publish(publisher, b"0")
        segment = await publisher.next()
        await until(lambda: known(relay, 1) and known(relay, 2))  # both requests are open
        relay.close_channel("chan")
        with pytest.raises(ChannelGone):
            await segment.done()
        with pytest.raises(ChannelGone):
            await publisher.next()
        assert publisher.lost == 0  # it is the end of the stream, and no loss

    async def test_a_segment_that_is_given_up_frees_its_readers(
        self, relay: TrickleRelay, publisher: TricklePublisher
    ) -> None:
        async with RawClient(relay.url + "chan/0") as reader:
            reader.send("GET")

            async def break_off() -> None:
                async with await publisher.next() as segment:
                    await segment.write(b"half")
                    await reader.head()
                    raise ValueError("no more")

            with pytest.raises(ValueError, match="no more"):
                await break_off()
            assert await reader.body() == b"half"
        assert publisher.lost == 1
        assert (await publish(publisher, b"next")).seq() == 1

    async def test_writing_after_close(self, publisher: TricklePublisher) -> None:
        segment = await publish(publisher, b"x")
        await segment.close()
        with pytest.raises(TrickleError, match="closed already"):
            await segment.write(b"y")

    async def test_reset_is_on_the_next_segment_alone(self) -> None:
        async def script(request: Exchange) -> None:
            if request.method == "POST":
                await request.drain_body()
            request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE) as publisher:
            await publish(publisher, b"0")
            publisher.reset()
            assert (await publish(publisher, b"1")).seq() == 1
            assert (await publish(publisher, b"2")).seq() == 2
            await until(lambda: "POST 3" in server.asked)
            with_reset = [
                asked
                for asked, headers in zip(server.asked, server.headers, strict=True)
                if "lp-trickle-reset" in headers
            ]
            assert with_reset == ["POST 1"]

    async def test_numbers_used_up_by_others_are_passed_over_before_a_segment_is_taken(
        self, relay: TrickleRelay, publisher: TricklePublisher
    ) -> None:
        url = relay.url + "chan"
        await publish(publisher, b"0")
        await until(lambda: known(relay, 1))
        await exchange(url + "/1", "DELETE")  # ends the request that waits there
        await until(lambda: known(relay, 2))
        segment = await publish(publisher, b"next")
        assert segment.seq() == 2
        assert (await get(url + "/2"))[1] == b"next"
        assert publisher.lost == 0


class TestWithScript:
    async def test_a_request_that_fails_before_a_byte_went_out_is_made_again(self) -> None:
        bodies: list[bytes] = []

        async def script(request: Exchange) -> None:
            if request.part != "0":
                await request.hold()
            attempts = server.asked.count("POST 0")
            if attempts == 1:
                request.answer(500)
            elif attempts == 2:
                request.reset()
            elif attempts == 3:
                request.answer(503)
            else:
                bodies.append(await request.drain_body())
                request.answer(200, Lp_Trickle_Seq="0")

        async with (
            ScriptedServer(script) as server,
            TricklePublisher(server.url, TYPE, options=QUICK, close_limit_s=0.2) as publisher,
        ):
            segment = await publisher.next()
            await until(lambda: server.asked.count("POST 0") == 4)
            await segment.write(b"whole")
            await segment.close()
            await segment.done()
            assert (bodies, publisher.lost) == ([b"whole"], 0)

    async def test_a_request_ahead_that_has_just_failed_is_made_again(self) -> None:
        async def script(request: Exchange) -> None:
            if request.method == "POST":
                await request.drain_body()
            request.answer(200, Lp_Trickle_Seq=request.part)

        async with (
            ScriptedServer(script) as server,
            TricklePublisher(server.url, TYPE, options=QUICK, close_limit_s=0.2) as publisher,
        ):
            await publish(publisher, b"0")
            assert publisher._pending is not None
            # In the same turn of the event loop as `next`: the publisher has not been called back yet.
            publisher._pending.fail(TrickleError("refused"))
            segment = await publish(publisher, b"1")
            assert segment.seq() == 1
            assert (publisher.lost, publisher.error) == (0, None)
            await until(lambda: "POST 2" in server.asked)

    async def test_bytes_written_while_the_server_is_away_are_kept(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        with kept_port() as port:
            url = f"http://127.0.0.1:{port}/ai/trickle/chan"
            async with TricklePublisher(url, TYPE, options=QUICK, close_limit_s=LIMIT_S) as publisher:
                segment = await publisher.next()
                await segment.write(b"early")
                await segment.close()
                await until(lambda: "refused; trying again" in caplog.text)
                relay = TrickleRelay()
                relay.create("chan", TYPE)
                await relay.start(port=port)
                await segment.done()
                assert (await get(url + "/0"))[1] == b"early"
                assert (await publish(publisher, b"on")).seq() == 1
            await relay.close()

    async def test_a_segment_that_fails_after_a_byte_is_dropped_and_the_next_begins(self) -> None:
        async def script(request: Exchange) -> None:
            if request.method == "DELETE":
                request.answer(200)
            elif request.part == "0":
                await request.reader.readuntil(b"half\r\n")
                request.reset()
            else:
                await request.drain_body()
                request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE, options=QUICK) as publisher:
            segment = await publisher.next()
            await segment.write(b"half")
            with pytest.raises(TrickleError, match=r"segment 0 .* is lost"):
                await segment.done()
            with pytest.raises(TrickleError):
                await segment.write(b"more")
            with pytest.raises(TrickleError):
                await segment.close()
            assert (await publish(publisher, b"whole")).seq() == 1
            await until(lambda: "DELETE 0" in server.asked)
            assert server.asked.count("POST 0") == 1
            assert publisher.lost == 1

    async def test_a_segment_that_never_got_out_is_dropped_when_the_next_begins(self) -> None:
        async def script(request: Exchange) -> None:
            if request.method == "DELETE":
                request.answer(200)
            elif request.part == "0":
                request.answer(503)
            else:
                await request.drain_body()
                request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE, options=QUICK) as publisher:
            first = await publisher.next()
            await until(lambda: server.asked.count("POST 0") > 2)
            assert (await publish(publisher, b"whole")).seq() == 1
            with pytest.raises(TrickleError, match=r"segment 0 .* is lost"):
                await first.done()
            await until(lambda: "DELETE 0" in server.asked)

    @pytest.mark.parametrize("status", [302, 400, 403])
    async def test_a_refusal_is_final_for_the_segment(self, status: int) -> None:
        async def script(request: Exchange) -> None:
            request.answer(status, Location="/elsewhere")

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE, options=QUICK) as publisher:
            segment = await publisher.next()
            with pytest.raises(TrickleError, match=f"answered {status}"):
                await segment.done()
            assert server.asked.count("POST 0") == 1

    async def test_an_answer_before_the_end_is_an_error(self) -> None:
        async def script(request: Exchange) -> None:
            if request.part == "0":
                await request.reader.readuntil(b"half\r\n")
            request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE, options=QUICK) as publisher:
            segment = await publisher.next()
            await segment.write(b"half")
            with pytest.raises(TrickleError, match="before its end"):
                await segment.done()

    async def test_a_server_that_takes_nothing(self, clock: LoopClock) -> None:
        async def script(request: Exchange) -> None:
            request.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()

        options = PostOptions(buffer_bytes=200_000)
        async with (
            ScriptedServer(script) as server,
            TricklePublisher(server.url, TYPE, options=options, close_limit_s=0.2) as publisher,
        ):
            segment = await publisher.next()
            writing = asyncio.create_task(segment.write(b"x" * 100_000_000))
            await until(lambda: segment._post._waiting_bytes >= 200_000)
            taken = -1
            while taken != (taken := segment._post._sent_bytes):  # until the connection is full
                await asyncio.sleep(0.05)
            assert not writing.done()
            clock.move(options.write_limit_s)
            with pytest.raises(TrickleError, match=r"taken nothing for 10 s"):
                await writing
            assert segment._post._waiting_bytes <= 300_000  # and no more was ever kept

    async def test_a_server_that_never_answers(self, clock: LoopClock) -> None:
        async def script(request: Exchange) -> None:
            await request.hold()

        async with (
            ScriptedServer(script) as server,
            TricklePublisher(server.url, TYPE, close_limit_s=0.2) as publisher,
        ):
            segment = await publisher.next()
            await segment.write(b"x")
            await segment.close()
            await until(lambda: segment._post._whole)
            clock.move(PostOptions().write_limit_s)
            with pytest.raises(TrickleError, match="its answer is missing"):
                await segment.done()

    async def test_close_takes_a_bounded_time(self, clock: LoopClock) -> None:
        async def script(request: Exchange) -> None:
            await request.hold()

        async with ScriptedServer(script) as server:
            publisher = TricklePublisher(server.url, TYPE)
            segment = await publisher.next()
            await segment.write(b"x")
            await until(lambda: server.asked == ["POST 0", "POST 1"])
            closing = asyncio.create_task(publisher.close())
            await asyncio.sleep(0.01)  # it has begun to wait
            clock.move(CLOSE_LIMIT_S / 2)  # for the segment
            await until(lambda: "DELETE chan" in server.asked)
            clock.move(CLOSE_LIMIT_S / 2)  # for the DELETE; the request ahead has no more than what is left
            await asyncio.wait_for(closing, LIMIT_S)
            assert publisher.lost == 1
            with pytest.raises(TrickleError):
                await segment.write(b"y")

    async def test_a_channel_that_is_gone_is_not_deleted(self) -> None:
        """Another publisher may have created it again."""

        async def script(request: Exchange) -> None:
            request.answer(404)

        async with ScriptedServer(script) as server:
            publisher = TricklePublisher(server.url, TYPE, options=QUICK)
            segment = await publisher.next()
            with pytest.raises(ChannelGone):
                await segment.done()
            await publisher.close()
            assert not [asked for asked in server.asked if asked.startswith("DELETE")]

    async def test_provisional_answers_are_no_answers(self) -> None:
        told: list[str] = []

        async def script(request: Exchange) -> None:
            for _ in range(3):
                request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(0.01)
            told.append(request.part)
            if request.method == "POST":
                await request.drain_body()
            request.answer(200, Lp_Trickle_Seq=request.part)

        async with ScriptedServer(script) as server, TricklePublisher(server.url, TYPE) as publisher:
            segment = await publisher.next()
            await until(lambda: "0" in told)
            await segment.write(b"x")
            await segment.close()
            await segment.done()

    async def test_a_first_number_that_cannot_be_asked_for(self) -> None:
        async def script(request: Exchange) -> None:
            request.answer(500)

        async with (
            ScriptedServer(script) as server,
            TricklePublisher(server.url, TYPE, start_seq=None) as publisher,
        ):
            with pytest.raises(TrickleError, match="answer 500"):
                await publisher.next()


async def test_both_ends_over_the_relay_byte_by_byte(relay: TrickleRelay) -> None:
    url = relay.url + "chan"
    sent = [bytes([seq]) * (seq * 40_000 + 1) for seq in range(20)]
    read: list[bytes] = []

    async def subscribe() -> None:
        async with TrickleSubscriber(url) as subscriber:
            while (segment := await subscriber.next()) is not None:
                data = b""
                while chunk := await segment.read():
                    data += chunk
                if data:
                    read.append(data)

    reading = asyncio.create_task(subscribe())
    async with TricklePublisher(url, TYPE, close_limit_s=LIMIT_S) as publisher:
        for data in sent:
            async with await publisher.next() as segment:
                for start in range(0, len(data), 30_000):
                    await segment.write(data[start : start + 30_000])
            await segment.done()
            await until(lambda: len(read) == segment.seq() + 1)
    await asyncio.wait_for(reading, LIMIT_S)
    assert read == sent


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
async def test_streams_one_after_another_leave_nothing_behind(relay: TrickleRelay) -> None:
    url = relay.url + "chan"
    descriptors: list[int] = []
    tasks = len(asyncio.all_tasks())
    for _ in range(30):
        relay.create("chan", TYPE)
        async with TrickleSubscriber(url) as subscriber, TricklePublisher(url, TYPE) as publisher:
            async with await publisher.next() as written:
                await written.write(b"x")
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"x"
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        descriptors.append(len(os.listdir("/proc/self/fd")))
    assert max(descriptors[15:]) <= max(descriptors[:15])


async def test_a_shared_session_outlives_those_who_use_it(relay: TrickleRelay) -> None:
    from runner.live.trickle.session import trickle_session

    url = relay.url + "chan"
    async with trickle_session() as session:
        async with TricklePublisher(url, TYPE, session=session) as publisher:
            await publish(publisher, b"x")
        relay.create("chan", TYPE)
        await put(url + "/0", b"y")
        async with TrickleSubscriber(url, session=session) as subscriber:
            segment = await subscriber.next()
            assert segment is not None
            assert await segment.read() == b"y"
        assert not session.closed

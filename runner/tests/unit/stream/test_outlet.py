"""What an output does when its server takes nothing, or what it must not connect to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runner.errors import AddressError, ChannelGone
from runner.live.streamer.protocol.outlet import Outlet
from runner.live.streamer.protocol.protocol import ProtocolStatistics
from runner.live.trickle.address import StreamAddresses
from runner.live.trickle.post import PostOptions
from runner.live.trickle.publisher import TricklePublisher
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.session import trickle_session

from ...trickle.wire import Exchange, ScriptedServer, until

PIECE = b"x" * 100_000
_OPTIONS = PostOptions()


@asynccontextmanager
async def outlet(
    url: str, allowed: str = "", options: PostOptions = _OPTIONS
) -> AsyncIterator[tuple[Outlet, ProtocolStatistics]]:
    """An outlet that publishes there."""
    statistics = ProtocolStatistics()
    async with trickle_session(StreamAddresses(allowed)) as session:
        publisher = TricklePublisher(url, "video/mp2t", session=session, options=options, close_limit_s=0.2)
        made = Outlet(publisher, statistics, lambda: None)
        try:
            yield made, statistics
        finally:
            await made.close()
            await publisher.close()


async def put_segments(made: Outlet, segments: int, pieces: int) -> None:
    """As an encoder's thread does, without waiting for anything."""

    def put() -> None:
        for number in range(segments):
            segment = made.open_segment(number)
            for _ in range(pieces):
                segment.write(PIECE)
            segment.close()

    await asyncio.to_thread(put)


async def test_a_server_that_takes_nothing_costs_whole_segments_and_no_memory() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections come about, and nobody reads
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/chan"
        async with outlet(url, options=PostOptions(buffer_bytes=1 << 16, write_limit_s=0.2)) as (made, statistics):
            await put_segments(made, 40, 10)  # 40 MB
            # What the kernel's buffers have taken is lost when no answer comes.
            while statistics.dropped["publisher"] < 28:
                await asyncio.sleep(0.05)
            assert sum(len(data or b"") for _, data in made._items) <= (8 << 20) + 2 * len(PIECE)


async def test_a_channel_that_must_not_be_connected_to_ends_it_with_the_reason() -> None:
    async with outlet("http://localhost:9/chan", allowed="10.0.0.0/8") as (made, _):
        while made.error is None:
            await put_segments(made, 1, 1)
            await asyncio.sleep(0.01)
        assert isinstance(made.error, AddressError)
        assert not isinstance(made.error, ChannelGone)


async def test_a_long_stream_loses_nothing_where_the_server_takes_all() -> None:
    """The limit is of bytes that wait, not of those that were ever put."""
    relay = TrickleRelay()
    await relay.start()
    relay.create("chan", "video/mp2t")
    try:
        async with outlet(relay.url + "chan") as (made, statistics):
            for _ in range(12):  # 12 MB
                await put_segments(made, 1, 10)
                await until(lambda: not made._items, 60)
            await made.finish(60)
            await until(lambda: relay.channels()[0].bytes_in == 120 * len(PIECE), 60)
            assert statistics.dropped == {}
    finally:
        await relay.close()


async def test_a_segment_that_the_server_refuses_is_counted_once_and_the_next_goes_out() -> None:
    bodies: dict[str, bytes] = {}

    async def script(request: Exchange) -> None:
        if request.method == "POST" and request.part != "0":
            bodies[request.part] = await request.drain_body()
        elif request.method == "POST":
            await request.reader.readexactly(1)
        request.answer(403 if request.part == "0" else 200, Lp_Trickle_Seq=request.part)

    async with ScriptedServer(script) as server, outlet(server.url) as (made, statistics):
        refused = made.open_segment(0)
        refused.write(PIECE)
        await until(lambda: made._publisher.lost == 1, 60)
        for _ in range(3):
            refused.write(PIECE)
        refused.close()
        await put_segments(made, 1, 2)
        await made.finish(60)
        await until(lambda: "1" in bodies, 60)
        assert statistics.dropped == {"publisher": 1}
        assert bodies["1"] == 2 * PIECE

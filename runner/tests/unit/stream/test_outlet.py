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
from runner.live.trickle.session import trickle_session

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

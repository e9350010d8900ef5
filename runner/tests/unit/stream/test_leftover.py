"""Leftover: the channels of a killed host are closed, those of the running stream are not. With a real relay."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.live.process.status import last_event
from runner.live.streamer.protocol.leftover import Leftover
from runner.live.streamer.protocol.protocol import StreamRequest
from runner.live.trickle.address import StreamAddresses
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.subscriber import TrickleSubscriber

LAST = last_event("noop", "the runner host was killed")


@pytest.fixture
async def relay() -> AsyncIterator[TrickleRelay]:
    relay = TrickleRelay()
    await relay.start()
    for name in ("in", "out", "events", "next-out"):
        relay.create(name, "video/mp2t")
    yield relay
    await relay.close()


def request(relay: TrickleRelay, sink: str = "out", events: str = "events") -> StreamRequest:
    return StreamRequest(relay.url + "in", relay.url + sink, events_url=relay.url + events if events else "")


async def close(folder: Path, allow: str = "") -> None:
    if (channels := Leftover(folder).take()) is not None:
        await channels.close(LAST, StreamAddresses(allow), verify_tls=False)


def channels(relay: TrickleRelay) -> set[str]:
    return {channel.name for channel in relay.channels()}


async def test_the_channels_that_a_killed_host_wrote_to_are_closed(relay: TrickleRelay, tmp_path: Path) -> None:
    Leftover(tmp_path).remember(request(relay))
    await close(tmp_path)
    assert channels(relay) == {"in", "next-out"}
    assert list(tmp_path.iterdir()) == []


async def test_the_last_event_says_why(relay: TrickleRelay, tmp_path: Path) -> None:
    Leftover(tmp_path).remember(request(relay))
    async with TrickleSubscriber(relay.url + "events", 0) as events:
        reading = asyncio.create_task(events.next())
        await close(tmp_path)
        segment = await reading
        assert segment is not None
        assert json.loads(await segment.read()) == LAST
        assert await events.next() is None


async def test_a_stream_that_was_closed_in_order_leaves_nothing(relay: TrickleRelay, tmp_path: Path) -> None:
    leftover = Leftover(tmp_path)
    leftover.remember(request(relay, events=""))
    leftover.forget()
    assert list(tmp_path.iterdir()) == []
    await close(tmp_path)
    assert "out" in channels(relay)


async def test_addresses_that_are_not_allowed_are_not_connected_to(relay: TrickleRelay, tmp_path: Path) -> None:
    Leftover(tmp_path).remember(request(relay))
    await close(tmp_path, "10.0.0.0/8")
    assert {"out", "events"} <= channels(relay)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "half of [", "\0", "7", "[]", '{"a": 1}'])
async def test_a_damaged_file_is_removed(relay: TrickleRelay, tmp_path: Path, content: str) -> None:
    leftover = Leftover(tmp_path)
    leftover.remember(request(relay))
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    await close(tmp_path)
    assert {"out", "events"} <= channels(relay)
    assert list(tmp_path.iterdir()) == []


async def test_the_file_is_private_to_the_user(relay: TrickleRelay, tmp_path: Path) -> None:
    Leftover(tmp_path).remember(request(relay))
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == [relay.url + "out", relay.url + "events"]

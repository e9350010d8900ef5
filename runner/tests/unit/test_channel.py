"""HostChannel: what one message does to the host does not keep the next ones from it."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest

from runner.live.process.channel import HostChannel, pack
from runner.live.process.messages import Flushed, Warmed


@pytest.mark.parametrize("spoilt", [struct.pack("<I", 5) + b"no pi", pack(Warmed())], ids=["unreadable", "mishandled"])
async def test_messages_after_one_that_fails_arrive(spoilt: bytes, caplog: pytest.LogCaptureFixture) -> None:
    arrived: list[Any] = []
    both = asyncio.Event()

    def take(message: Any) -> None:
        if isinstance(message, Warmed):
            raise ValueError
        arrived.append(message)
        if len(arrived) == 2:
            both.set()

    ours, theirs = socket.socketpair()
    channel = HostChannel(take)
    await channel.connect(ours)
    with theirs, caplog.at_level(logging.ERROR):
        theirs.sendall(pack(Flushed()) + spoilt + pack(Flushed()))
        await asyncio.wait_for(both.wait(), 60)
    channel.close()
    assert "ignoring a message" in caplog.text

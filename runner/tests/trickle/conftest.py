"""A relay for each test, and a look at what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from runner.live.trickle.relay import TrickleRelay

from .clock import LoopClock
from .wire import LIMIT_S


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """Fail if a test leaves a task behind."""
    yield
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        assert asyncio.get_running_loop().time() < deadline, left
        await asyncio.sleep(0.01)


@pytest.fixture
async def relay() -> AsyncIterator[TrickleRelay]:
    """A relay on a free port with the channel ``chan``, made as an orchestrator makes it."""
    relay = TrickleRelay()
    await relay.start()
    relay.create("chan", "video/mp2t")
    yield relay
    await relay.close()


@pytest.fixture
async def clock() -> AsyncIterator[LoopClock]:
    """The clock of the test's event loop."""
    with LoopClock() as clock:
        yield clock

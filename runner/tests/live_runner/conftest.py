"""A live runner behind a stand-in orchestrator, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol

import pytest

from runner.live.trickle.address import StreamAddresses

from .orchestrator import Orchestrator
from .serving import Client, Served


class Serve(Protocol):
    """Starts a live runner: ``await serve(dynamic=True, price=0.5)``; keywords are settings."""

    def __call__(
        self,
        *,
        dynamic: bool = True,
        addresses: StreamAddresses | None = None,
        pipeline: Any = None,
        **settings: Any,
    ) -> Awaitable[Served]: ...


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    stand_in = Orchestrator()
    await stand_in.start()
    yield stand_in
    await stand_in.close()


@pytest.fixture
async def serve(orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Serve]:
    """Starts live runners: ``await serve(dynamic=True, price=0.5)``. Afterwards no secret may be in any log."""
    caplog.set_level(logging.DEBUG)
    served: list[Served] = []

    async def start(
        *, dynamic: bool = True, addresses: StreamAddresses | None = None, pipeline: Any = None, **settings: Any
    ) -> Served:
        if dynamic:
            settings = {"orchestrator": orchestrator.url, "secret": orchestrator.secret} | settings
        runner = Served(settings, addresses, pipeline)
        served.append(runner)
        await runner.start()
        return runner

    before = asyncio.all_tasks()
    yield start
    for runner in served:
        await runner.close()
    for secret in orchestrator.all_secrets:
        assert secret not in _told(caplog), "a secret is in the logs"
    left = [task for task in asyncio.all_tasks() - before if "live-runner" in task.get_name()]
    assert left == []


def _told(caplog: pytest.LogCaptureFixture) -> str:
    """What this package and trickle have logged; the servers of the tests have logs of their own."""
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    return "\n".join(record.getMessage() for record in records if record.name.startswith("runner."))


@pytest.fixture
async def client(orchestrator: Orchestrator) -> AsyncIterator[Client]:
    one = Client(orchestrator)
    yield one
    await one.http.aclose()


@pytest.fixture
async def second_client(orchestrator: Orchestrator) -> AsyncIterator[Client]:
    one = Client(orchestrator)
    yield one
    await one.http.aclose()

"""Pipeline processes of these tests are forked from one that has imported torch, unless a test is about spawning."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runner.live.process import process, template

from .fork_server import ForkServer


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked `spawned`, a test starts its processes as the product does, which takes seconds each."""
    if request.node.get_closest_marker("spawned") is None:
        server = request.getfixturevalue("fork_server")
        monkeypatch.setattr(process, "spawn", server.spawn)
        monkeypatch.setattr(template, "spawn", server.spawn)

"""What the tests in this folder share."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from watch_reader import Clock

sys.path.append(str(Path(__file__).parent))  # tests import the scripted session by its name


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day as in UTC, so that pictures of the screen are the same everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def exact_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pilots wait for the app's messages instead of CPU time."""
    from driven_studio import wait_for_messages

    monkeypatch.setattr("textual.app.wait_for_idle", wait_for_messages)
    monkeypatch.setattr("textual.pilot.wait_for_idle", wait_for_messages)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all watchers, which stands still until the test moves it."""
    from watch_reader import Clock

    from ai_runner_studio.reload import watch

    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let watchers wait for a file that is missing or empty, however long a busy machine takes to write it."""
    from ai_runner_studio.reload import watch

    monkeypatch.setattr(watch, "SETTLE_S", 60.0)

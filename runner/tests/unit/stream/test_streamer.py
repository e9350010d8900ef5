"""PipelineStreamer: the reason for a stream's end reaches both the host's listeners and the stream's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runner.errors import ProcessError, RunnerError, SourceError
from runner.live.events import Event, StreamEnded
from runner.live.process.guardian import ProcessGuardian
from runner.live.streamer.protocol.protocol import ProtocolStatistics, SourceInfo, StreamProtocol, StreamRequest
from runner.live.streamer.streamer import PipelineStreamer
from runner.live.trickle.frame import AudioFrame, RawFrame

from ...conftest import raw_frame
from ..guardian_run import GuardianRun


class SilentProtocol(StreamProtocol):
    """Has no frames until it fails, and keeps what it is told while it is open."""

    def __init__(self, failure: RunnerError | None = None) -> None:
        self.statistics = ProtocolStatistics()
        self.told: list[dict[str, Any]] = []
        self._failure = failure
        self._open = False

    async def open(self, width: int, height: int) -> SourceInfo:
        self._open = True
        return SourceInfo("silence", width, height, live=True)

    async def frames(self) -> AsyncIterator[RawFrame | AudioFrame]:
        if self._failure is not None:
            raise self._failure
        await asyncio.Event().wait()
        yield raw_frame(0)

    def pause(self, paused: bool) -> None: ...

    async def put(self, frame: RawFrame | AudioFrame) -> None: ...

    def tell(self, event: dict[str, Any], kind: str) -> None:  # noqa: ARG002
        if self._open:
            self.told.append(event)

    async def finish(self) -> None:
        await self.close()

    async def close(self) -> None:
        self._open = False


class Run:
    """A streamer on a guardian that was not started."""

    def __init__(self) -> None:
        self.guardian: ProcessGuardian = GuardianRun().guardian
        self.events: list[Event] = []
        self.streamer = PipelineStreamer(self.guardian, self.events.append)

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [(event.error, event.error_kind) for event in self.events if isinstance(event, StreamEnded)]


@pytest.fixture
async def run(nothing_left: None) -> AsyncIterator[Run]:  # noqa: ARG001 - checks after the run is closed
    made = Run()
    yield made
    await made.streamer.close()
    await made.guardian.close()


@pytest.mark.parametrize(
    ("reason", "kind"), [(SourceError("no input for 60 s"), "source"), (ProcessError("it has failed"), "pipeline")]
)
@pytest.mark.parametrize("begun", [False, True])
async def test_a_stream_that_the_guardian_stops_reports_why(
    run: Run, reason: RunnerError, kind: str, begun: bool
) -> None:
    protocol = SilentProtocol()
    await run.streamer.start(StreamRequest("silence"), protocol, 64, 64)
    if begun:
        await asyncio.sleep(0)
    await run.streamer.stop(reason)
    assert [event["message"] for event in protocol.told] == [f"stream ended: {reason}"]
    assert run.ends == [(str(reason), kind)]


async def test_one_that_fails_does_too(run: Run) -> None:
    protocol = SilentProtocol(SourceError("the input is damaged"))
    await run.streamer.start(StreamRequest("silence"), protocol, 64, 64)
    while not run.ends:
        await asyncio.sleep(0)
    assert [event["message"] for event in protocol.told] == ["stream ended: the input is damaged"]
    assert run.ends == [("the input is damaged", "source")]


async def test_one_that_is_stopped_on_request_has_no_error(run: Run) -> None:
    protocol = SilentProtocol()
    await run.streamer.start(StreamRequest("silence"), protocol, 64, 64)
    await run.streamer.stop()
    assert (protocol.told, run.ends) == ([], [])

"""ProcessGuardian: what its policy decides. Restarts and loads with real processes are in process/test_guardian.py."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from runner.errors import ProcessError, RunnerError
from runner.live.events import PipelineWarned, ProcessExited
from runner.live.process.channel import Unpacker, pack
from runner.live.process.exit import ProcessExit
from runner.live.process.messages import ParamsApplied, ParamsSent
from runner.live.process.policy import PRODUCTION, STUDIO, RestartPolicy
from runner.live.process.revision import LoadRequest
from runner.live.process.state import PipelineState
from runner.live.report import ErrorReport

from .guardian_run import GuardianRun

LIMIT_S = 60.0
CRASH = ProcessExit(-11, "was killed by SIGSEGV", ("Bearer abc.def", "Segmentation fault"))

Start = Callable[..., GuardianRun]


@pytest.fixture
async def start(nothing_left: None) -> AsyncIterator[Start]:  # noqa: ARG001 - checks after the runs are closed
    """Make a run of a policy; its first revision serves."""
    runs: list[GuardianRun] = []

    def started(policy: RestartPolicy, **initial_params: Any) -> GuardianRun:
        run = GuardianRun(policy, **initial_params)
        run.board.switch(run.revision(1))
        runs.append(run)
        return run

    yield started
    for run in runs:
        await run.guardian.close()
        run.close()


class TestLastExit:
    """The process exits and may not be restarted any more."""

    @pytest.mark.parametrize(("policy", "stops"), [(PRODUCTION, 1), (STUDIO, 0)])
    async def test_the_stream_stops_in_production_only(self, start: Start, policy: RestartPolicy, stops: int) -> None:
        run = start(replace(policy, max_restarts=0))
        stopped: list[RunnerError] = []
        run.guardian.stop_stream = stopped.append
        assert run.guardian.serving is not None
        run.guardian.on_exit(run.guardian.serving, CRASH)
        assert run.guardian.state is PipelineState.ERROR
        assert [str(reason) for reason in stopped] == ["the pipeline has failed"] * stops
        assert [event.restarting for event in run.events if isinstance(event, ProcessExited)] == [False]

    async def test_waiting_for_a_pipeline_raises_the_reason(self, start: Start) -> None:
        run = start(replace(PRODUCTION, max_restarts=0))
        assert run.guardian.serving is not None
        run.guardian.on_exit(run.guardian.serving, CRASH)
        with pytest.raises(ProcessError, match="SIGSEGV"):
            await asyncio.wait_for(run.guardian.wait_serving(), LIMIT_S)
        with pytest.raises(ProcessError, match=r"no pipeline is running.*SIGSEGV"):
            run.guardian.check_alive()

    async def test_the_exit_of_a_process_that_does_not_serve_is_none(self, start: Start) -> None:
        run = start(PRODUCTION)
        serving = run.guardian.serving
        run.guardian.on_exit(run.revision(2), CRASH)
        assert run.guardian.serving is serving
        assert not any(isinstance(event, ProcessExited) for event in run.events)


class TestFirstLoad:
    REPORT = ErrorReport("params", "ParamsError", "width: too large")

    @pytest.mark.parametrize(("policy", "retried"), [(PRODUCTION, True), (STUDIO, False)])
    async def test_params_that_fail_it_are_dropped_once_in_production(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, policy: RestartPolicy, retried: bool
    ) -> None:
        run = start(policy, width=7)
        requests: list[LoadRequest] = []
        monkeypatch.setattr(run.guardian.loads, "begin", requests.append)
        first = run.board.vacate()
        assert first is not None
        run.guardian.on_load_failed(first, self.REPORT)
        await asyncio.sleep(0)
        assert run.guardian.state is PipelineState.ERROR
        assert [request.strict for request in requests] == [True] * retried
        assert run.guardian.params == ({} if retried else {"width": 7})
        assert any(isinstance(event, PipelineWarned) for event in run.events) is retried
        run.guardian.on_load_failed(first, self.REPORT)  # without params by now
        run.guardian.params = {"width": 8}
        run.guardian.on_load_failed(run.revision(2), self.REPORT)
        await asyncio.sleep(0)
        assert len(requests) == retried


class Peer:
    """The pipeline process' end of the channel: accepts all params that it receives."""

    def __init__(self) -> None:
        self.host_end, self._end = socket.socketpair()
        self._end.setblocking(False)
        self._unpacker = Unpacker()

    @property
    def has_message(self) -> bool:
        return bool(select.select([self._end], [], [], 0)[0])

    async def take_params(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        while True:
            for message in self._unpacker.feed(await loop.sock_recv(self._end, 65536)):
                if isinstance(message, ParamsSent):
                    params = {"size": 64, **message.params}  # with what its class adds
                    await loop.sock_sendall(self._end, pack(ParamsApplied(message.number, params, {}, False, 64, 48)))
                    return message.params

    def close(self) -> None:
        self._end.close()


class TestOutputsThatWait:
    @pytest.mark.parametrize(("waiting", "state"), [(0, PipelineState.ERROR), (1, PipelineState.DEGRADED_INPUT)])
    async def test_a_pipeline_is_not_blamed_for_a_sink_that_is_behind(
        self, start: Start, waiting: int, state: PipelineState
    ) -> None:
        run = start(STUDIO)
        serving = run.guardian.serving
        assert serving is not None
        run.guardian.open_stream("s1")
        serving.process.heartbeat_at = time.monotonic()
        for seq in range(waiting):
            run.output(serving, seq)
        run.guardian.health._loaded_at = run.guardian.health._stream_at = time.monotonic() - 60
        run.board.inputs.tick()
        run.board.outputs.rate.last = time.monotonic() - 20
        run.guardian._tick()
        assert run.guardian.state is state


class TestOffline:
    @pytest.mark.parametrize("policy", [PRODUCTION, STUDIO])
    async def test_the_initial_params_come_back_in_production_only(self, start: Start, policy: RestartPolicy) -> None:
        run = start(policy, gain=1)
        serving = run.guardian.serving
        assert serving is not None
        peer = Peer()
        try:
            await serving.process._channel.connect(peer.host_end)
            serving.process.heartbeat_at = time.monotonic()
            run.guardian.params = {"gain": 2}
            run.guardian._tick()
            assert run.guardian.state is PipelineState.OFFLINE
            await asyncio.sleep(0)  # an update of the params would be sent in this turn of the event loop
            assert peer.has_message is (policy is PRODUCTION)
            if policy is PRODUCTION:
                assert await asyncio.wait_for(peer.take_params(), LIMIT_S) == {"gain": 1}
            await asyncio.wait_for(asyncio.gather(*run.guardian._tasks), LIMIT_S)
            assert run.guardian.params == ({"gain": 1, "size": 64} if policy is PRODUCTION else {"gain": 2})
            assert run.guardian.has_initial_params is (policy is PRODUCTION)
        finally:
            peer.close()

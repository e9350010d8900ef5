"""EntrypointContract: what a console script that serves a pipeline promises to the network, as one class of tests.

class TestRunner(EntrypointContract):
    command = ("mine-runner",)
    model_id = "mine"
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..errors import StreamError
from .leave_out import leave_out
from .network_stream import PATTERN, NetworkStream, network_stream
from .served_process import ServedProcess

Serve = Callable[[], ServedProcess]


# Checks of what a pipeline need not have -> the attribute that says whether it does.
_OPTIONAL = {
    "test_params_come_by_the_control_channel": "live_params",
    "test_a_stream_with_bad_params_is_refused_with_the_reason": "bad_params",
}


class EntrypointContract:
    """Checks one entrypoint by streams of the network; subclass it and name yours.

    Attributes:
        command: the console script and its arguments, looked for beside the interpreter first.
        model_id: what the network knows the pipeline by.
        environment: variables for it; `PORT`, `TMPDIR` and `MODEL_DIR` are set to throw-away ones.
        params: of the streams.
        source: what is sent, see `network_stream`.
        pictures: how many have to come back.
        exact: pictures come back as they were, so that their numbers can be read (of a ``pattern:``).
        live_params: complete sets that are taken while a stream runs; each another one than what is in force.
        bad_params: complete sets that are refused.
        patience_s: for each of the things that are waited for.
    """

    command: Sequence[str]
    model_id: str
    environment: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    source: str = PATTERN
    pictures: int = 24
    exact: bool = False
    live_params: Sequence[dict[str, Any]] = ()
    bad_params: Sequence[dict[str, Any]] = ()
    patience_s: float = 60.0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        leave_out(cls, EntrypointContract, _OPTIONAL)

    @pytest.fixture(scope="class")
    @classmethod
    def serve(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
        """Gives the server that runs, or starts one, and waits until its pipeline is ready."""
        contract, started = cls(), list[ServedProcess]()

        def ready() -> ServedProcess:
            if not started or started[-1].process.poll() is not None:
                started.append(ServedProcess(contract.folder(tmp_path_factory), cls.command, contract.environment))
                assert started[-1].url, started[-1].said
            started[-1].until("IDLE", cls.patience_s)
            return started[-1]

        yield ready
        for server in started:
            server.close()

    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The working directory of a server; override it to put files there."""
        return tmp_path_factory.mktemp("served")

    def stream(self, server: ServedProcess, **more: Any) -> Any:
        """A stream through the server."""
        options: dict[str, Any] = {"source": self.source, "params": dict(self.params), "patience_s": self.patience_s}
        return network_stream(server.url, model_id=self.model_id, **options | more)

    # ---- checks ------------------------------------------------------------------------------

    def test_it_is_ready_and_says_what_it_serves(self, serve: Serve) -> None:
        version = serve().get("/version")
        assert (version["pipeline"], version["model_id"]) == ("live-video-to-video", self.model_id)

    def test_a_stream_comes_back(self, serve: Serve) -> None:
        server = serve()
        asyncio.run(self._stream_comes_back(server))
        server.until("IDLE", self.patience_s)

    async def _stream_comes_back(self, server: ServedProcess) -> None:
        async with self.stream(server) as stream:
            await stream.pictures_come(self.pictures)
            # These may be loading pictures, while it reloads itself for the params.
            said = await asyncio.to_thread(server.until, "OK", self.patience_s)
            assert "IDLE" not in said
            await stream.pictures_come(len(stream.seen.pts) + self.pictures)
        assert all(later > earlier for earlier, later in pairwise(stream.seen.pts)), stream.seen.pts
        assert _errors(stream) == []
        if self.exact:
            numbers = [number for number in stream.seen.numbers if number is not None]
            assert len(numbers) >= self.pictures
            assert all(later > earlier for earlier, later in pairwise(numbers)), numbers

    def test_params_come_by_the_control_channel(self, serve: Serve) -> None:
        asyncio.run(self._change_params(serve()))

    async def _change_params(self, server: ServedProcess) -> None:
        async with self.stream(server, keep=False) as stream:
            await stream.pictures_come(1)
            for number, bad in enumerate(self.bad_params, 1):
                await stream.update(bad)
                await stream.event_comes(lambda _, wanted=number: len(_errors(stream)) >= wanted)
            for params in self.live_params:
                await stream.update(params)
                await stream.event_comes(lambda event, sent=params: sent.items() <= _last_params(event).items())
            await stream.pictures_come(len(stream.seen.pts) + self.pictures)
        assert len(_errors(stream)) == len(self.bad_params), _errors(stream)

    def test_a_stream_with_bad_params_is_refused_with_the_reason(self, serve: Serve) -> None:
        server = serve()
        for bad in self.bad_params:
            with pytest.raises(StreamError, match=r"refuses the stream, 400: ."):
                asyncio.run(self._start(server, bad))
        assert "OK" not in server.until("IDLE", self.patience_s)  # LOADING, if it takes back params of a stream before

    async def _start(self, server: ServedProcess, params: dict[str, Any]) -> None:
        async with self.stream(server, params=params):
            pass

    def test_sigterm_in_a_stream_ends_it_and_leaves_nothing(self, serve: Serve) -> None:
        server = serve()
        below = asyncio.run(self._terminate(server))
        assert psutil.wait_procs(below, timeout=self.patience_s)[1] == []
        assert [name for name in server.left() if name.startswith("ai-runner")] == []

    async def _terminate(self, server: ServedProcess) -> list[psutil.Process]:
        async with self.stream(server, keep=False) as stream:
            await stream.pictures_come(1)
            below = server.below()
            os.kill(server.process.pid, signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0, server.said
        return below


def _errors(stream: NetworkStream) -> list[str]:
    """What the runner has told of errors."""
    events = [message["event"] for message in stream.events]
    return [event["message"] for event in events if event["type"] == "error"]


def _last_params(event: dict[str, Any]) -> dict[str, Any]:
    """The params in a status; none where they are not told, or in another event."""
    return event.get("inference_status", {}).get("last_params") or {}

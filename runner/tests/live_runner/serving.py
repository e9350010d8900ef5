"""A live runner as an HTTP server, and a client of the orchestrator before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from runner.live.trickle.address import StreamAddresses
from runner.live_runner import LiveRunnerSettings
from runner.live_runner.live_runner import LiveRunner
from runner.live_runner.registration import Pauses
from runner.live_runner.routes import attach
from runner.routes.body_limit import BodyLimit

from .orchestrator import Orchestrator
from .pipelines import ShoutingPipeline

PATIENCE_S = 60.0  # ends a test that hangs


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds; fails after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


class Served:
    """A live runner as an HTTP server: the app, its pipeline, and a client that calls it without an orchestrator."""

    def __init__(
        self, settings: dict[str, Any], addresses: StreamAddresses | None = None, pipeline: Any = None
    ) -> None:
        self.pipeline = ShoutingPipeline() if pipeline is None else pipeline
        self.live_runner: LiveRunner
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._settings = {"enabled": True, "runner_url": self.url, "app": "live-video-to-video/shout"} | settings
        self._addresses = addresses
        self.app = FastAPI()
        self.app.add_middleware(BodyLimit)
        self.client = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S, verify=False)

    async def start(self) -> None:
        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            settings = LiveRunnerSettings(**self._settings)
            self.live_runner = live_runner = attach(app, self.pipeline, settings, self._addresses)
            live_runner._poll_s, live_runner._pauses = 0.05, Pauses(first_s=0.05, longest_s=0.2, refused_s=0.2)
            await live_runner.start()
            yield
            await live_runner.close()

        self.app.router.lifespan_context = lifespan
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=1, ws="none")
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await until(lambda: self._server.started, "the runner listens")

    async def close(self) -> None:
        self._server.should_exit = True
        await self._task
        await self.client.aclose()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Client:
    """A client of the orchestrator, as an application has it: it knows nothing of the runner."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self.http = httpx.AsyncClient(timeout=PATIENCE_S, verify=False)
        self.app_url = self.control_url = self.session_id = ""

    async def reserve(self, runner_id: str) -> None:
        answer = await self.http.post(f"{self.orchestrator.url}/apps/{runner_id}/session")
        assert answer.status_code == 200, answer.text
        reserved = answer.json()
        self.app_url, self.session_id = reserved["app_url"], reserved["session_id"]
        self.control_url = reserved["control_url"]

    async def call(self, name: str, body: Any = None) -> httpx.Response:
        return await self.http.post(f"{self.app_url}/live-runner/{name}", json=body)

    async def stop(self) -> None:
        assert (await self.http.post(f"{self.control_url}/stop")).status_code == 204


async def registered(orchestrator: Orchestrator) -> str:
    """The id of the one runner, once it is there and ready."""
    await until(lambda: any(r.body.get("status") == "ready" for r in orchestrator.runners.values()), "registered")
    return next(iter(orchestrator.runners))

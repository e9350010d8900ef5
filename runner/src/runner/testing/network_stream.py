"""NetworkStream: one stream through a runner that listens, played by an orchestrator and a gateway of our own.

    async with network_stream("http://127.0.0.1:8000", params={"strength": 0.5}) as stream:
        await stream.pictures_come(24)
        await stream.update({"strength": 1.0})
        await stream.pictures_come(48)
    print(stream.latencies_ms, stream.seen.pictures[0].shape)

The runner has to reach the relay that this starts: both are on one machine, or share its network.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from ..errors import StreamError
from .network import Network, Seen, network

PATTERN = "pattern:512x512@24"
PATIENCE_S = 60.0
_LOOK_S = 0.02


class NetworkStream:
    """A stream that runs.

    Attributes:
        network: its channels.
        seen: what has come back so far.
        events: what the runner has told, as it came (contract 5.2).
        started_s: how long the runner took to answer that the stream has begun.
    """

    def __init__(self, network: Network, *, keep: bool, patience_s: float) -> None:
        self.network = network
        self.seen = Seen(keep)
        self.events: list[dict[str, Any]] = []
        self.started_s = 0.0
        self._patience_s = patience_s
        self._sending: asyncio.Task[None]
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self, url: str, request: dict[str, Any], token: str) -> None:
        """Ask the runner to begin.

        Raises:
            StreamError: it refuses, with its reason, or it cannot be reached.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        began = time.monotonic()
        try:
            async with self.network.session.post(
                f"{url.rstrip('/')}/live-video-to-video",
                json=self.network.urls | request,
                headers=headers,
                timeout=aiohttp.ClientTimeout(self._patience_s),
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise StreamError(f"no runner answers at {url}: {error or type(error).__name__}") from error
        if answer.status != 200:
            raise StreamError(f"the runner refuses the stream, {answer.status}: {_reason(text)}")
        self.started_s = time.monotonic() - began

    def flow(self, source: str, size: tuple[int, int], frames: int | None, loop: bool) -> None:
        """Begin to send and to take what comes back."""
        self._sending = asyncio.create_task(self._send(source, frames, loop))
        self._tasks = [
            self._sending,
            asyncio.create_task(self.network.watch(self.seen, size)),
            asyncio.create_task(self.network.events(self.events)),
        ]

    async def _send(self, source: str, frames: int | None, loop: bool) -> None:
        await self.network.wait_for_reader()
        await self.network.send(source, frames=frames, loop=loop)

    async def update(self, params: dict[str, Any]) -> None:
        """Send params, complete ones, by the control channel."""
        await self.network.send_params(params)

    async def pictures_come(self, count: int) -> None:
        """Wait until so many have come since the beginning.

        Raises:
            StreamError: they do not, or the stream is over before.
        """
        await self._until(lambda: len(self.seen.pts) >= count, f"{count} pictures")

    async def event_comes(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first event that is wanted, of those that came already or will; what is in its key ``event``.

        Raises:
            StreamError: it does not come, or the stream is over before.
        """

        def found() -> list[dict[str, Any]]:
            return [message["event"] for message in self.events if wanted(message["event"])]

        await self._until(lambda: bool(found()), "an event")
        return found()[0]

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience_s
        while not there():
            if self._sending.done() and not self._sending.cancelled() and (error := self._sending.exception()):
                raise error
            over = all(task.done() for task in self._tasks)
            if (over or time.monotonic() > deadline) and not there():
                when = "before the stream was over" if over else f"within {self._patience_s:g} s"
                raise StreamError(f"{what} did not come {when}; {len(self.seen.pts)} pictures did")
            await asyncio.sleep(_LOOK_S)

    async def end(self) -> None:
        """End the stream by its input, and wait until the runner has closed its own channels.

        Raises:
            StreamError: it does not close them.
        """
        if not self._tasks:
            return
        if not self._sending.done():
            self._sending.cancel()
        _, running = await asyncio.wait(self._tasks, timeout=self._patience_s)
        if running:
            raise StreamError(f"the runner has not closed its channels within {self._patience_s:g} s of the end")

    async def close(self) -> None:
        """Drop everything. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def latencies_ms(self) -> list[float]:
        """From sending to decoding, encoding and transport both ways included; of each picture that came back."""
        sent = self.network.sent_ns
        times = zip(self.seen.pts, self.seen.came_ns, strict=True)
        return [(came - sent[pts]) / 1e6 for pts, came in times if pts in sent]


def _reason(text: str) -> str:
    """What an answer says, as short as it can be had."""
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text[:500]
    return str(detail["msg"]) if isinstance(detail, dict) and "msg" in detail else str(detail)


@asynccontextmanager
async def network_stream(
    url: str,
    *,
    source: str = PATTERN,
    frames: int | None = None,
    loop: bool = False,
    params: dict[str, Any] | None = None,
    size: tuple[int, int] = (512, 512),
    model_id: str = "",
    token: str = "",
    keep: bool = True,
    host: str = "127.0.0.1",
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[NetworkStream]:
    """A stream through the runner at `url`, ended in order when this is left without an error.

    Args:
        source: a clip's path, or ``pattern:WxH@FPS``, whose pictures carry numbers; sent at its own speed.
        frames: end the stream after so many. loop: begin a clip again at its end.
        params, model_id: of the request.
        size: (width, height) that the pictures which come back are fitted to.
        token: the runner's `AUTH_TOKEN`.
        keep: keep the pictures in `seen.pictures`.
        host: where the relay listens, and where the runner is told that it is.

    Raises:
        StreamError: the runner refuses, cannot be reached, or does not end the stream.
        SourceError: the source cannot be read.
    """
    request = {"params": params or {}, "model_id": model_id, "gateway_request_id": "test"}
    async with network(host=host) as channels:
        stream = NetworkStream(channels, keep=keep, patience_s=patience_s)
        await stream.start(url, request, token)
        try:
            stream.flow(source, size, frames, loop)
            yield stream
            await stream.end()
        finally:
            await stream.close()

"""A pipeline for the tests: it reads one trickle channel and writes another for real, its pictures are plain bytes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from runner.errors import ParamsError, RunnerError
from runner.live.trickle import TricklePublisher, TrickleSubscriber


class ShoutingPipeline:
    """Gives every segment back in capitals, after what the parameter ``prefix`` says.

    Attributes:
        state: of the status object; set by the stream, or by a test.
        started: keyword arguments of each start that was not refused.
        stops: how often it was asked to stop.
        refusal: what the next start raises.
        hang: name of the method that never answers.
    """

    model_id = "shout"

    def __init__(self) -> None:
        self.state = "OFFLINE"
        self.ready = "IDLE"
        self.started: list[dict[str, Any]] = []
        self.stops = 0
        self.hang = ""
        self.refusal: RunnerError | None = None
        self.stop_s = 0.0
        self._params: dict[str, Any] = {}
        self._stream: asyncio.Task[None] | None = None

    async def start_stream(
        self,
        subscribe_url: str,
        publish_url: str,
        control_url: str = "",
        events_url: str = "",
        params: dict[str, Any] | None = None,
        request_id: str = "",
        manifest_id: str = "",
        stream_id: str = "",
    ) -> None:
        await self._maybe_hang("start_stream")
        if self.refusal is not None:
            raise self.refusal
        assert self._stream is None, "one stream at a time"
        self._params = _checked(params or {})
        self.started.append({"in": subscribe_url, "out": publish_url, "control": control_url, "events": events_url})
        self.started[-1] |= {"params": self._params, "ids": (request_id, manifest_id, stream_id)}
        self.state, self.ready = "ONLINE", "OK"
        self._stream = asyncio.create_task(self._run(subscribe_url, publish_url))

    async def update_params(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._maybe_hang("update_params")
        self._params = _checked(params)
        return self._params

    async def stop_stream(self) -> None:
        self.stops += 1
        await self._maybe_hang("stop_stream")
        await asyncio.sleep(self.stop_s)
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.wait([self._stream])
            self._stream = None
        self.state, self.ready = "OFFLINE", "IDLE"

    async def status(self) -> dict[str, Any]:
        await self._maybe_hang("status")
        return {"state": self.state}

    async def health(self) -> str:
        await self._maybe_hang("health")
        return self.ready

    async def _run(self, subscribe_url: str, publish_url: str) -> None:
        subscriber, publisher = TrickleSubscriber(subscribe_url), TricklePublisher(publish_url, "video/mp2t")
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(publisher.close)
            stack.push_async_callback(subscriber.close)
            while (segment := await subscriber.next()) is not None:
                data = b""
                while part := await segment.read():
                    data += part
                async with await publisher.next() as answer:
                    await answer.write(self._params.get("prefix", "").encode() + data.upper())
        self.state = "OFFLINE"

    async def _maybe_hang(self, name: str) -> None:
        if self.hang == name:
            await asyncio.Event().wait()


def _checked(params: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(params.get("prefix", ""), str):
        raise ParamsError("prefix: must be text", {"prefix": "must be text"})
    return params

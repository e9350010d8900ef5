"""The control API of a runner host, over HTTP on a Unix socket or a local port.

The first three routes are the network's (contract part 4). The others are what the studio needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from ... import __version__
from ...errors import ParamsError, RunnerError
from ..events import encode
from ..host import RunnerHost
from ..plain_json import plain_json
from ..process.revision import LoadRequest
from ..process.status import PipelineStatus
from ..streamer.protocol.protocol import Policy, ProtocolName, StreamRequest

START_ROUTE = "/api/live-video-to-video"
PARAMS_ROUTE = "/api/params"
_SAID_AS_TEXT = {START_ROUTE: "Error starting stream", PARAMS_ROUTE: "Error updating params"}
KEEPALIVE_S = 5.0  # a comment on a silent event stream, so that either end notices a dead connection


class StartBody(BaseModel):
    """Start request of the network (contract part 4); with the local protocol the URLs name source and sink."""

    subscribe_url: str
    publish_url: str
    control_url: str = ""
    events_url: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    request_id: str = ""
    manifest_id: str = ""
    stream_id: str = ""


class StreamBody(BaseModel):
    """A local stream; see `runner.live.streamer.protocol.protocol.StreamRequest`."""

    source: str
    sink: str | None = None
    protocol: Literal["local", "route"] = "local"
    policy: Policy = "newest"
    paced: bool = True
    loop: bool = False
    max_frames: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)


class ReloadBody(BaseModel):
    """Why to reload: `files` were saved `saved_ago_s` seconds ago."""

    reason: str = "asked for"
    files: list[str] = Field(default_factory=list)
    saved_ago_s: float = Field(default=0.0, ge=0, le=3600)
    level: Literal["auto", "process"] = "auto"


class RevertBody(BaseModel):
    """The good revision whose code is wanted again."""

    revision: int = Field(ge=1)


class ReloadOptionsBody(BaseModel):
    """How reloads are done from now on; what is left out stays."""

    keep_weights: bool | None = None
    standby: bool | None = None


class PauseBody(BaseModel):
    paused: bool


def create_api(host: RunnerHost, protocol: ProtocolName = "trickle") -> FastAPI:
    """The API of one host. `protocol`: of the streams that the network's route starts."""
    app = FastAPI(title="AI Runner host", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(RunnerError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    _network_routes(app, host, protocol)
    _studio_routes(app, host)
    return app


def _network_routes(app: FastAPI, host: RunnerHost, protocol: ProtocolName) -> None:
    @app.get("/api/status", response_model=PipelineStatus)
    async def status() -> Response:
        # Not the framework's way: what a pipeline has said, such as the name of a file, may be no UTF-8.
        return Response(plain_json(host.guardian.status().model_dump(mode="json")), media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        text = host.metrics.render() if host.metrics is not None else b""
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post(PARAMS_ROUTE)
    async def params(body: dict[str, Any]) -> PlainTextResponse:
        await host.set_params(body)
        return PlainTextResponse("Params updated successfully")

    @app.post(START_ROUTE)
    async def start(body: StartBody) -> PlainTextResponse:
        request = StreamRequest(
            source=body.subscribe_url,
            sink=body.publish_url or None,
            request_id=body.request_id or "stream",
            protocol=protocol,
            manifest_id=body.manifest_id,
            stream_id=body.stream_id,
            control_url=body.control_url,
            events_url=body.events_url,
        )
        await host.begin(request, body.params)
        return PlainTextResponse("Stream started successfully")


def _studio_routes(app: FastAPI, host: RunnerHost) -> None:
    @app.post("/api/stream")
    async def start_stream(body: StreamBody) -> dict[str, Any]:
        info = await host.start_stream(StreamRequest(**body.model_dump()))
        return {"source": info.name, "width": info.width, "height": info.height}

    @app.delete("/api/stream")
    async def stop_stream() -> dict[str, Any]:
        await host.stop_stream()
        return {}

    @app.post("/api/stream/pause")
    async def pause(body: PauseBody) -> dict[str, Any]:
        host.streamer.pause(body.paused)
        return {"paused": host.streamer.paused}

    @app.post("/api/reload")
    async def reload(body: ReloadBody) -> dict[str, Any]:
        whole = body.level == "process"
        host.reload(LoadRequest(body.reason, tuple(body.files), saved_ago_s=body.saved_ago_s, whole=whole))
        return {}

    @app.post("/api/revert")
    async def revert(body: RevertBody) -> dict[str, Any]:
        host.guardian.revert(body.revision)
        return {}

    @app.post("/api/reload-options")
    async def reload_options(body: ReloadOptionsBody) -> dict[str, Any]:
        host.guardian.set_options(keep_weights=body.keep_weights, standby=body.standby)
        return {}

    @app.get("/api/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(_server_sent(host), media_type="text/event-stream")


async def _server_sent(host: RunnerHost) -> AsyncIterator[str]:
    """Events as server-sent events: ``data: {json}`` and a blank line each."""
    events = host.hub.listen(host.hello())
    following = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            await asyncio.wait([following], timeout=KEEPALIVE_S)
            if not following.done():
                yield ": \n\n"
                continue
            event = following.result()
            if event is None:
                return
            yield f"data: {encode(event)}\n\n"
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()


def _refuse(request: Request, error: Exception) -> JSONResponse | PlainTextResponse:
    """A mistake of the caller, in words."""
    refused = error.refused if isinstance(error, ParamsError) else {}
    return _refusal(request, str(error), type(error).__name__, refused, 400)


def _refuse_body(request: Request, error: Exception) -> JSONResponse | PlainTextResponse:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors()]
    return _refusal(request, "; ".join(problems), "BadRequest", {}, 422)


def _refusal(
    request: Request, message: str, kind: str, refused: dict[str, str], code: int
) -> JSONResponse | PlainTextResponse:
    """The network's own routes answer with text and 400 (contract part 4), to whoever does not ask for JSON."""
    said = _SAID_AS_TEXT.get(request.url.path)
    if said is not None and (request.url.path == START_ROUTE or "json" not in request.headers.get("accept", "")):
        return PlainTextResponse(f"{said}: {message}", status_code=400)
    return JSONResponse({"detail": {"msg": message, "kind": kind, "refused": refused}}, status_code=code)

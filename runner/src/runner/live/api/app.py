"""The control API of a runner host, over HTTP on a Unix socket or a local port.

The first three routes are the network's (contract part 4). The others are what the studio needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, Field, RootModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ...errors import ParamsError, RunnerError
from ..events import encode
from ..host import RunnerHost
from ..plain_json import plain_json
from ..process.revision import LoadRequest
from ..streamer.protocol.local import check_source
from ..streamer.protocol.protocol import Policy, ProtocolName, StreamRequest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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


class CheckBody(BaseModel):
    """A source of a local stream, to be tried."""

    source: str


class ReloadBody(BaseModel):
    """Why to reload: `files` were saved `saved_ago_s` seconds ago.

    `level`: "process" for a fresh one, "force" into the running one where that can be done, proven or not.
    """

    reason: str = ""
    files: list[str] = Field(default_factory=list)
    saved_ago_s: float = Field(default=0.0, ge=0, le=3600)
    level: Literal["auto", "process", "force"] = "auto"


class RevertBody(BaseModel):
    """The good revision whose code is wanted again."""

    revision: int = Field(ge=1)


class ReloadOptionsBody(BaseModel):
    """How reloads are done from now on; what is left out stays."""

    keep_weights: bool | None = None
    standby: bool | None = None


class PauseBody(BaseModel):
    paused: bool


# Why a load was done that nobody gave a reason for.
_ASKED = {"auto": "requested", "process": "fresh process requested", "force": "requested, proven or not"}

Body = TypeVar("Body", bound=BaseModel)


class ParamsBody(RootModel[dict[str, Any]]):
    """All params, by name."""


class _BadBody(Exception):
    """What a request has sent is not what its route takes."""


def create_api(host: RunnerHost, protocol: ProtocolName = "trickle") -> Starlette:
    """The API of one host. `protocol`: of the streams that the network's route starts.

    Not by FastAPI: each host would take 0.25 s longer to start, for a dozen routes that need no schema.
    """
    api = _Api(host, protocol)
    return Starlette(
        routes=[
            Route("/api/status", api.status),
            Route("/metrics", api.metrics),
            Route(PARAMS_ROUTE, api.set_params, methods=["POST"]),
            Route(START_ROUTE, api.start, methods=["POST"]),
            Route("/api/stream", api.start_stream, methods=["POST"]),
            Route("/api/stream", api.stop_stream, methods=["DELETE"]),
            Route("/api/stream/check", api.check_source, methods=["POST"]),
            Route("/api/stream/pause", api.pause, methods=["POST"]),
            Route("/api/reload", api.reload, methods=["POST"]),
            Route("/api/revert", api.revert, methods=["POST"]),
            Route("/api/reload-options", api.set_reload_options, methods=["POST"]),
            Route("/api/events", api.events),
        ],
        exception_handlers={RunnerError: _refuse, _BadBody: _refuse_body, HTTPException: _refuse_request},
    )


class _Api:
    """What answers each route."""

    def __init__(self, host: RunnerHost, protocol: ProtocolName) -> None:
        self._host = host
        self._protocol = protocol

    # ---- the network's ---------------------------------------------------------------------

    async def status(self, _request: Request) -> Response:
        status = self._host.guardian.status().model_dump(mode="json")
        # Not Starlette's way: what a pipeline has said, such as the name of a file, may be no UTF-8.
        return Response(plain_json(status), media_type="application/json")

    async def metrics(self, _request: Request) -> Response:
        text = self._host.metrics.render() if self._host.metrics is not None else b""
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def set_params(self, request: Request) -> Response:
        params = await self._host.set_params((await _body(request, ParamsBody)).root)
        if "json" in request.headers.get("accept", ""):  # the network takes text (contract part 4)
            return Response(plain_json({"params": params}), media_type="application/json")
        return PlainTextResponse("Params updated successfully")

    async def start(self, request: Request) -> Response:
        body = await _body(request, StartBody)
        stream = StreamRequest(
            source=body.subscribe_url,
            sink=body.publish_url or None,
            request_id=body.request_id or "stream",
            protocol=self._protocol,
            manifest_id=body.manifest_id,
            stream_id=body.stream_id,
            control_url=body.control_url,
            events_url=body.events_url,
        )
        await self._host.begin(stream, body.params)
        return PlainTextResponse("Stream started successfully")

    # ---- the studio's ----------------------------------------------------------------------

    async def start_stream(self, request: Request) -> Response:
        body = await _body(request, StreamBody)
        info = await self._host.start_stream(StreamRequest(**body.model_dump()))
        return JSONResponse({"source": info.name, "width": info.width, "height": info.height})

    async def stop_stream(self, _request: Request) -> Response:
        await self._host.stop_stream()
        return JSONResponse({})

    async def check_source(self, request: Request) -> Response:
        await check_source((await _body(request, CheckBody)).source)
        return JSONResponse({})

    async def pause(self, request: Request) -> Response:
        self._host.streamer.pause((await _body(request, PauseBody)).paused)
        return JSONResponse({"paused": self._host.streamer.paused})

    async def reload(self, request: Request) -> Response:
        body = await _body(request, ReloadBody)
        asked = LoadRequest(
            body.reason or _ASKED[body.level],
            tuple(body.files),
            saved_ago_s=body.saved_ago_s,
            whole=body.level == "process",
            force=body.level == "force",
        )
        self._host.reload(asked)
        return JSONResponse({})

    async def revert(self, request: Request) -> Response:
        self._host.guardian.revert((await _body(request, RevertBody)).revision)
        return JSONResponse({})

    async def set_reload_options(self, request: Request) -> Response:
        body = await _body(request, ReloadOptionsBody)
        self._host.guardian.set_options(keep_weights=body.keep_weights, standby=body.standby)
        return JSONResponse({})

    async def events(self, _request: Request) -> Response:
        return StreamingResponse(_server_sent(self._host), media_type="text/event-stream")


async def _body(request: Request, model: type[Body]) -> Body:
    """What a request has sent.

    Only as JSON by its type: a page in a browser can send anything else to this machine without being asked.

    Raises:
        _BadBody: it is something else, or has another form.
    """
    kind, _, subtype = request.headers.get("content-type", "").partition(";")[0].strip().lower().partition("/")
    if kind != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise _BadBody("the body must be JSON, with content-type: application/json")
    try:
        return model.model_validate(await request.json())
    except ValidationError as error:
        raise _BadBody("; ".join(map(_problem, error.errors()))) from error
    except (ValueError, RecursionError) as error:
        raise _BadBody(f"the body is not JSON: {error}") from error


def _problem(found: ErrorDetails) -> str:
    """What is wrong, after the name of the field if it is about one."""
    return ": ".join(filter(None, (".".join(map(str, found["loc"])), found["msg"])))


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
    return _refusal(request, str(error), "BadRequest", {}, 422)


def _refuse_request(_request: Request, error: Exception) -> JSONResponse:
    """There is no such route, or not by this method."""
    assert isinstance(error, HTTPException)
    return _as_json(error.detail, "BadRequest", {}, error.status_code, error.headers)


def _refusal(
    request: Request, message: str, kind: str, refused: dict[str, str], code: int
) -> JSONResponse | PlainTextResponse:
    """The network's own routes answer with text and 400 (contract part 4), to whoever does not ask for JSON."""
    said = _SAID_AS_TEXT.get(request.url.path)
    if said is not None and "json" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{said}: {message}", status_code=400)
    return _as_json(message, kind, refused, code)


def _as_json(
    message: str, kind: str, refused: dict[str, str], code: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    detail = {"msg": message, "kind": kind, "refused": refused}
    return JSONResponse({"detail": detail}, status_code=code, headers=headers)

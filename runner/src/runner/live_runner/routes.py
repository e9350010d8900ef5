"""The routes of the live-runner contract, added to the runner's app.

| route | who calls it | what it does |
|---|---|---|
| ``POST /live-runner/start`` | client, through the orchestrator | opens channels, starts the stream |
| ``POST /live-runner/update`` | client, through the orchestrator | replaces the parameters of the running stream |
| ``POST /live-runner/stop`` | client, through the orchestrator | ends the stream and releases the session |
| ``GET /live-runner/health`` | orchestrator | 200 exactly while a session is or could be served, else 503 |

The client's three need the session headers that the orchestrator's proxy adds. A client appends the paths to the
``app_url`` of its session. Errors are ``{"detail": {"msg", "kind", "refused"}}``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from ..errors import ParamsError, RunnerError
from ..live.log import mask, request_ids
from ..live.params_limit import check_params
from ..live.trickle.address import StreamAddresses
from .caller import CONTROL_HEADER, ID_HEADER, ROUTE_HEADER, TOKEN_HEADER, SessionCaller, SessionError
from .live_runner import LiveRunner

if TYPE_CHECKING:
    from .pipeline import StreamingPipeline
    from .settings import LiveRunnerSettings

logger = logging.getLogger(__name__)

PREFIX = "/live-runner"
HEALTH_PATH = f"{PREFIX}/health"

_Body = TypeVar("_Body", bound=BaseModel)


class LiveRunnerStartBody(BaseModel):
    """What a client starts its stream with; an empty body is fine."""

    model_config = ConfigDict(extra="forbid")
    params: dict[str, Any] = Field(default_factory=dict, description="parameters of the pipeline; left out: defaults")


class LiveRunnerUpdateBody(BaseModel):
    """New parameters of the running stream: all of them, what is left out falls back to its default."""

    model_config = ConfigDict(extra="forbid")
    params: dict[str, Any] = Field(description="parameters of the pipeline")


class LiveRunnerStarted(BaseModel):
    """A stream has begun. The URLs are secrets of this session."""

    model_config = ConfigDict(populate_by_name=True)
    session: str
    input: str = Field(alias="in", description="trickle channel to publish MPEG-TS to")
    output: str = Field(alias="out", description="trickle channel to read MPEG-TS from")
    control: str = Field(description="trickle channel that takes parameters as JSON")
    events: str = Field(description="trickle channel of status, errors and traces as JSON")


class LiveRunnerUpdated(BaseModel):
    """Parameters that are in force now."""

    session: str
    params: dict[str, Any]


class LiveRunnerStopped(BaseModel):
    """The pipeline is free again."""

    session: str


class LiveRunnerHealth(BaseModel):
    """`status`: OK, IDLE, LOADING, ERROR or TIMEOUT. `session`: whether one is served."""

    status: str
    session: bool


class LiveRunnerProblem(BaseModel):
    """Why a request was refused; `refused`: reasons by parameter."""

    msg: str
    kind: str
    refused: dict[str, str] = Field(default_factory=dict)


class LiveRunnerRefusal(BaseModel):
    """Body of every answer that is an error."""

    detail: LiveRunnerProblem


def attach(
    app: FastAPI,
    pipeline: StreamingPipeline,
    settings: LiveRunnerSettings,
    addresses: StreamAddresses | None = None,
) -> LiveRunner:
    """Add the routes to `app`, if `settings` turn them on; otherwise nothing is added, and nothing done later.

    Whoever owns the app's lifespan awaits ``start()`` and ``close()`` of what is returned; it may be called in
    there too. How large a body may be is the app's matter (`runner.routes.body_limit.BodyLimit`).

    Args:
        addresses: where callbacks of sessions may go to; by default what `TRICKLE_ALLOW` says.

    Raises:
        AddressError: `TRICKLE_ALLOW` is no list of addresses.
    """
    allowed = StreamAddresses.from_env() if addresses is None else addresses
    live_runner = LiveRunner(pipeline, settings, allowed)
    if settings.enabled:
        app.include_router(_router(live_runner))
    return live_runner


def _router(live_runner: LiveRunner) -> APIRouter:
    router = APIRouter(prefix=PREFIX, tags=["live-runner"])
    _client_routes(router, live_runner)

    @router.get(
        "/health",
        operation_id="live_runner_health",
        response_model=LiveRunnerHealth,
        responses={503: {"model": LiveRunnerHealth, "description": "No session could be served now"}},
        summary="Whether this runner can serve a session",
    )
    async def health() -> JSONResponse:
        word = await live_runner.health()
        serves = live_runner.serves(word)
        body = LiveRunnerHealth(status=word, session=serves and live_runner.sessions.running)
        return JSONResponse(body.model_dump(), status_code=200 if serves else 503)

    return router


def _client_routes(router: APIRouter, live_runner: LiveRunner) -> None:
    @router.post(
        "/start", response_model=LiveRunnerStarted, **_described("start", LiveRunnerStartBody, "Start the stream")
    )
    async def start(request: Request) -> JSONResponse:
        async def begin(caller: SessionCaller, body: LiveRunnerStartBody) -> dict[str, Any]:
            check_params(body.params)
            return await live_runner.sessions.start(caller, body.params)

        return await _answered(request, LiveRunnerStartBody, begin)

    @router.post(
        "/update", response_model=LiveRunnerUpdated, **_described("update", LiveRunnerUpdateBody, "Change parameters")
    )
    async def update(request: Request) -> JSONResponse:
        async def change(caller: SessionCaller, body: LiveRunnerUpdateBody) -> dict[str, Any]:
            check_params(body.params)
            return {"session": caller.session_id, "params": await live_runner.sessions.update(caller, body.params)}

        return await _answered(request, LiveRunnerUpdateBody, change)

    @router.post("/stop", response_model=LiveRunnerStopped, **_described("stop", None, "End the stream"))
    async def stop(request: Request) -> JSONResponse:
        async def end(caller: SessionCaller, _body: LiveRunnerStartBody) -> dict[str, Any]:
            await live_runner.sessions.stop(caller)
            return {"session": caller.session_id}

        return await _answered(request, LiveRunnerStartBody, end)


async def _answered(
    request: Request, kind: type[_Body], act: Callable[[SessionCaller, _Body], Awaitable[dict[str, Any]]]
) -> JSONResponse:
    """What `act` gives for the request's session and body, or why it is refused, as JSON."""
    try:
        caller = SessionCaller.from_headers(request.headers)
        with request_ids(*[caller.session_id] * 3):
            return JSONResponse(await act(caller, await _body(request, kind)))
    except HTTPException:  # the body is too long or too slow; the app answers that
        raise
    except SessionError as error:
        return _refused(error.http_status, error)
    except ParamsError as error:
        return _refused(400, error)
    except RunnerError as error:
        return _refused(503, error)
    except Exception:  # the edge of a request: the client gets JSON whatever happens
        logger.exception("a request of a session has failed")
        return _refused(500, SessionError(500, "the runner has failed here; its log says more"))


def _refused(status: int, error: RunnerError) -> JSONResponse:
    refused = error.refused if isinstance(error, ParamsError) else {}
    logger.info("a request of a session is refused with %d: %s", status, error)
    problem = LiveRunnerProblem(msg=mask(str(error)), kind=type(error).__name__, refused=refused)
    return JSONResponse(LiveRunnerRefusal(detail=problem).model_dump(), status_code=status)


async def _body(request: Request, kind: type[_Body]) -> _Body:
    """The body of a request; none counts as ``{}``.

    Raises:
        SessionError: it is of another form.
    """
    data = await request.body()
    try:
        return kind.model_validate_json(data if data.strip() else b"{}")
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors()]
        raise SessionError(400, f'{"; ".join(problems)}; the body looks like {{"params": {{...}}}}') from None


def _described(name: str, body: type[BaseModel] | None, summary: str) -> dict[str, Any]:
    """What OpenAPI says of a client's route: its headers, its body, its refusals."""
    headers = {
        ID_HEADER: "the session",
        TOKEN_HEADER: "authorises the callbacks of the session",
        CONTROL_HEADER: "base URL of those callbacks",
        ROUTE_HEADER: "runner id or label of the route",
    }
    parameters = [
        {
            "name": header,
            "in": "header",
            "required": header != ROUTE_HEADER,
            "description": f"{meaning}; added by the orchestrator",
            "schema": {"type": "string"},
        }
        for header, meaning in headers.items()
    ]
    extra: dict[str, Any] = {"parameters": parameters}
    if body is not None:
        schema = body.model_json_schema()
        extra["requestBody"] = {
            "required": bool(schema.get("required")),
            "content": {"application/json": {"schema": schema}},
        }
    refusals = {
        400: "Headers, body or parameters are not usable, or the body is too long or too slow",
        403: "Another token, or a callback URL that is not the orchestrator's",
        404: "The session does not run here",
        409: "The session is ending, or another one runs",
        502: "The orchestrator did not open the channels",
        503: "Another session is served, or the pipeline cannot start now",
        504: "The pipeline took too long",
    }
    return {
        "operation_id": f"live_runner_{name}",
        "summary": summary,
        "openapi_extra": extra,
        "responses": {status: {"model": LiveRunnerRefusal, "description": text} for status, text in refusals.items()},
    }

"""``POST /live-video-to-video``: begin a stream (contract 3.1)."""

from __future__ import annotations

import hmac
import logging
import os
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from ..errors import ParamsError, ProcessError, StreamError
from ..live.log import AUTH_TOKEN_ENV, request_ids
from ..live.params_limit import check_params
from ..live.trickle.address import shown
from ..pipelines.live_video_to_video import LiveVideoToVideoPipeline, NotReadyError
from .answers import HTTPError, HTTPValidationError, problem

logger = logging.getLogger(__name__)
router = APIRouter()


class LiveVideoToVideoParams(BaseModel):
    subscribe_url: str = Field(description="Source URL of the incoming stream to subscribe to.")
    publish_url: str = Field(description="Destination URL of the outgoing stream to publish.")
    control_url: str = Field(default="", description="URL of the channel by which parameters are changed.")
    events_url: str = Field(default="", description="URL of the channel to which status, errors and logs are told.")
    model_id: str = Field(
        default="", description="Name of the pipeline, as this runner knows it. Not the name of a model at a model hub."
    )
    params: dict[str, Any] = Field(default={}, description="Initial parameters for the pipeline.")
    gateway_request_id: str = Field(default="", description="The gateway's ID of this request, for logs.")
    manifest_id: str = Field(default="", description="The orchestrator's manifest ID, for logs.")
    stream_id: str = Field(default="", description="The stream's ID, for logs.")


class LiveVideoToVideoResponse(BaseModel):
    """Response model for live video-to-video generation."""

    subscribe_url: str = Field(description="Source URL of the incoming stream to subscribe to")
    publish_url: str = Field(description="Destination URL of the outgoing stream to publish to")
    control_url: str = Field(default="", description="URL for updating the live video-to-video generation")
    events_url: str = Field(default="", description="URL for subscribing to events for pipeline status and logs")
    request_id: str = Field(default="", description="The ID generated for this request")
    manifest_id: str = Field(default="", description="Orchestrator manifest ID for this request")


def _check_token(
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Refuse whoever does not know `AUTH_TOKEN`, if that is set.

    Raises:
        HTTPException: 401.
    """
    token = os.environ.get(AUTH_TOKEN_ENV)
    if token and not (given and hmac.compare_digest(given.credentials.encode(), token.encode())):
        raise HTTPException(401, "Invalid bearer token.", {"WWW-Authenticate": "Bearer"})


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"x-speakeasy-name-override": "data"}}}},
    400: {"model": HTTPError},
    401: {"model": HTTPError},
    500: {"model": HTTPError},
    422: {"model": HTTPValidationError, "description": "Validation Error"},
}


@router.post(
    "/live-video-to-video",
    operation_id="genLiveVideoToVideo",
    response_model=LiveVideoToVideoResponse,
    responses=_RESPONSES,
    dependencies=[Depends(_check_token)],
    tags=["generate"],
    summary="Live Video To Video",
    description="Apply transformations to a live video streamed to the returned endpoints.",
    openapi_extra={"x-speakeasy-name-override": "liveVideoToVideo"},
)
@router.post(
    "/live-video-to-video/",
    response_model=LiveVideoToVideoResponse,
    dependencies=[Depends(_check_token)],
    include_in_schema=False,
)
async def live_video_to_video(
    request: Request, body: LiveVideoToVideoParams
) -> LiveVideoToVideoResponse | JSONResponse:
    with request_ids(body.gateway_request_id, body.manifest_id, body.stream_id):
        try:
            await _begin(request, body)
        except (StreamError, ParamsError, NotReadyError) as error:
            logger.warning("stream refused: %s", error)
            return problem(400, str(error))
        except ProcessError as error:
            logger.error("stream not started: %s", error)
            return problem(500, str(error))
        logger.info("stream started, %s to %s", shown(body.subscribe_url), shown(body.publish_url))
    return LiveVideoToVideoResponse(subscribe_url="", publish_url="")  # an orchestrator fills in its own


async def _begin(request: Request, body: LiveVideoToVideoParams) -> None:
    pipeline: LiveVideoToVideoPipeline = request.app.state.pipeline
    if body.model_id not in ("", pipeline.model_id):
        raise StreamError(f"this runner serves the model '{pipeline.model_id}', not '{body.model_id}'")
    if request.app.state.in_session():
        raise StreamError("this runner serves a session of the live-runner contract now")
    check_params(body.params)
    _check_urls(request, body)
    await pipeline.start_stream(
        body.subscribe_url,
        body.publish_url,
        body.control_url,
        body.events_url,
        params=body.params,
        request_id=body.gateway_request_id,
        manifest_id=body.manifest_id,
        stream_id=body.stream_id,
    )


def _check_urls(request: Request, body: LiveVideoToVideoParams) -> None:
    """Look at the URLs at once, whether a host is there or not.

    Raises:
        AddressError: one is none, or not allowed here.
    """
    addresses = request.app.state.addresses
    if addresses is None:  # streams of files
        return
    for url in (body.subscribe_url, body.publish_url):
        addresses.check(url)
    for url in filter(None, (body.control_url, body.events_url)):
        addresses.check(url)

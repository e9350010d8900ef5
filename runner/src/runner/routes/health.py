"""``GET /health``: what an orchestrator decides by whether a container lives, is free, or goes (contract 3.2, 3.3).

It answers 200 whatever the state is, and names the state. Engines that look at the code alone (Kubernetes' and
Compose's probes) have ``/health/live`` and ``/health/ready``, which are about the same state.
"""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from ..errors import RunnerError
from ..pipelines.live_video_to_video import Health
from .answers import problem

LIVE: tuple[Health, ...] = ("LOADING", "OK", "IDLE")
READY: tuple[Health, ...] = ("OK", "IDLE")

logger = logging.getLogger(__name__)
router = APIRouter()


class HealthCheck(BaseModel):
    status: Health = Field(description="The health status of the pipeline")


@router.get("/health", operation_id="health", response_model=HealthCheck)
@router.get("/health/", response_model=HealthCheck, include_in_schema=False)
async def health(request: Request) -> HealthCheck | JSONResponse:
    try:
        return HealthCheck(status=await request.app.state.pipeline.health())
    except RunnerError as error:
        logger.error("no health to tell: %s", error)
        return problem(500, "Failed to retrieve pipeline status.")


@router.get("/health/live", include_in_schema=False)
async def live(request: Request) -> JSONResponse:
    """200 unless only a new container helps: 503 in ERROR, 500 where the host does not answer."""
    return _in_code(await health(request), LIVE)


@router.get("/health/ready", include_in_schema=False)
async def ready(request: Request) -> JSONResponse:
    """200 while a stream is served or could be: 503 in LOADING and ERROR."""
    return _in_code(await health(request), READY)


def _in_code(told: HealthCheck | JSONResponse, good: tuple[Health, ...]) -> JSONResponse:
    if isinstance(told, JSONResponse):
        return told
    return JSONResponse(told.model_dump(), 200 if told.status in good else 503)

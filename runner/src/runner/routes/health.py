"""``GET /health``: what an orchestrator decides by whether a container lives, is free, or goes (contract 3.2, 3.3)."""

from __future__ import annotations

import logging
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from ..errors import RunnerError
from .answers import problem

logger = logging.getLogger(__name__)
router = APIRouter()


class HealthCheck(BaseModel):
    status: Literal["LOADING", "OK", "ERROR", "IDLE"] = Field(description="The health status of the pipeline")


@router.get("/health", operation_id="health", response_model=HealthCheck)
@router.get("/health/", response_model=HealthCheck, include_in_schema=False)
async def health(request: Request) -> HealthCheck | JSONResponse:
    try:
        return HealthCheck(status=await request.app.state.pipeline.health())
    except RunnerError as error:
        logger.error("no health to tell: %s", error)
        return problem(500, "Failed to retrieve pipeline status.")

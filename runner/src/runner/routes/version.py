"""``GET /version`` (contract 3.2)."""

from __future__ import annotations

import os

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

router = APIRouter()


class Version(BaseModel):
    pipeline: str
    model_id: str
    version: str = Field(description="The version of the Runner")


def pipeline_names(request: Request) -> dict[str, str]:
    """``pipeline`` and ``model_id`` as an orchestrator has named them, else the pipeline's own names."""
    pipeline = request.app.state.pipeline
    return {
        "pipeline": os.environ.get("PIPELINE") or pipeline.name,
        "model_id": os.environ.get("MODEL_ID") or pipeline.model_id,
    }


@router.get("/version", operation_id="version", response_model=Version)
@router.get("/version/", response_model=Version, include_in_schema=False)
async def version(request: Request) -> Version:
    return Version(**pipeline_names(request), version=request.app.state.pipeline.version)

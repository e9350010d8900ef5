"""``GET /hardware/info`` and ``/hardware/stats`` (contract 3.2)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ..hardware import GPUComputeInfo, GPUUtilizationInfo
from .version import pipeline_names

router = APIRouter()


class HardwareInformation(BaseModel):
    """Response model for GPU information."""

    pipeline: str
    model_id: str
    gpu_info: dict[str, GPUComputeInfo]


class HardwareStats(BaseModel):
    """Response model for real-time GPU statistics."""

    pipeline: str
    model_id: str
    gpu_stats: dict[str, GPUUtilizationInfo]


@router.get("/hardware/info", operation_id="hardware_info", response_model=HardwareInformation)
@router.get("/hardware/info/", response_model=HardwareInformation, include_in_schema=False)
async def hardware_info(request: Request) -> HardwareInformation:
    found = await request.app.state.hardware.compute_info()
    return HardwareInformation(**pipeline_names(request), gpu_info=found)


@router.get("/hardware/stats", operation_id="hardware_stats", response_model=HardwareStats)
@router.get("/hardware/stats/", response_model=HardwareStats, include_in_schema=False)
async def hardware_stats(request: Request) -> HardwareStats:
    found = await request.app.state.hardware.utilization()
    return HardwareStats(**pipeline_names(request), gpu_stats=found)

from __future__ import annotations

from ..base_schema import BasePipelineConfig


class TornConfig(BasePipelineConfig):
    pipeline_id = "torn"

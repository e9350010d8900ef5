from ..base_schema import BasePipelineConfig


class HalfConfig(BasePipelineConfig):
    pipeline_id = "half"

"""What a pipeline author imports: `Pipeline`, `BaseParams`, `PipelineSpec`, and the decorator `pipeline`.

Importing this package loads neither torch nor numpy nor av: params modules build on it, and they
are also loaded outside the pipeline process.
"""

from .create import pipeline
from .interface import BaseParams, Pipeline
from .spec import PipelineSpec, builtin_pipeline_spec

__all__ = ["BaseParams", "Pipeline", "PipelineSpec", "builtin_pipeline_spec", "pipeline"]

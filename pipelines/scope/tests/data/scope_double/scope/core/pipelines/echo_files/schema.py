from __future__ import annotations

from ..artifacts import HuggingfaceRepoArtifact
from ..base_schema import BasePipelineConfig, ModeDefaults


class EchoFilesConfig(BasePipelineConfig):
    pipeline_id = "echo-files"
    artifacts = [HuggingfaceRepoArtifact(repo_id="someone/echo", files=["weights.bin", "tables"])]
    modes = {"video": ModeDefaults(default=True)}

from __future__ import annotations

from ..artifacts import GoogleDriveArtifact, HuggingfaceRepoArtifact
from ..base_schema import BasePipelineConfig


class LongLiveConfig(BasePipelineConfig):
    pipeline_id = "longlive"
    pipeline_name = "LongLive"
    estimated_vram_gb = 20.0
    artifacts = [
        HuggingfaceRepoArtifact(repo_id="Wan-AI/Wan2.1-T2V-1.3B", files=["config.json", "google"]),
        GoogleDriveArtifact(file_id="1a2b3c", files=["flow.pt"], name="flow"),
    ]

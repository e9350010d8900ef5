from __future__ import annotations

from pydantic import BaseModel


class Artifact(BaseModel): ...


class HuggingfaceRepoArtifact(Artifact):
    repo_id: str
    files: list[str]


class GoogleDriveArtifact(Artifact):
    file_id: str
    files: list[str] | None = None
    name: str | None = None

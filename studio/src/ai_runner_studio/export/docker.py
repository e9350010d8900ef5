"""Docker: BuildKit by buildx or by the engine itself; and running containers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import EngineError
from .engine import BuildRequest, EngineName, call, installed
from .plan import EPOCH_S
from .runtime import Layer, Runtime

# From this version on the client builds with BuildKit by its buildx plugin only.
_BUILDX_SINCE = 23


class Docker(Runtime):
    """The docker client, with a server that answers."""

    name: EngineName = "docker"

    def __init__(self, path: str, *, buildx: bool) -> None:
        self._path = path
        self._buildx = buildx

    @classmethod
    async def find(cls) -> Docker:
        """The one that is installed.

        Raises:
            EngineError: there is none, its server does not answer, or it cannot build with BuildKit.
        """
        path = installed("docker")
        try:
            versions = json.loads(await call([path, "version", "--format", "{{json .}}"]))
        except (EngineError, ValueError) as error:
            raise EngineError(f"docker is installed, but no server answers ({_shortened(error)})") from error
        if not (versions.get("Server") or {}).get("Version"):
            raise EngineError("docker is installed, but no server answers")
        try:
            await call([path, "buildx", "version"])
        except EngineError as error:
            client = str(versions["Client"]["Version"])
            if int(re.sub(r"\D.*", "", client) or 0) >= _BUILDX_SINCE:
                raise EngineError(f"docker {client} lacks its buildx plugin (package docker-buildx-plugin)") from error
            return cls(path, buildx=False)
        return cls(path, buildx=True)

    @property
    def program(self) -> list[str]:
        return [self._path]

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_BUILDKIT": "1"}

    def build_command(self, request: BuildRequest, id_file: Path) -> list[str]:
        command = [self._path, "buildx", "build", "--load"] if self._buildx else [self._path, "build"]
        command += ["--progress", "plain", "--iidfile", str(id_file)]
        command += ["--no-cache"] if request.no_cache else []
        command += ["--platform", request.platform] if request.platform else []
        command += [] if request.network else ["--network", "none"]
        # BuildKit's own name for the time of image and history; files keep those that the steps gave them.
        for argument in (f"SOURCE_DATE_EPOCH={EPOCH_S}", *request.build_args):
            command += ["--build-arg", argument]
        return [*command, *request.engine_args, str(request.context)]

    async def layers(self, image: str) -> list[Layer]:
        text = await self.call("history", "--no-trunc", "--human=false", "--format", "{{json .}}", image)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [Layer(line["CreatedBy"], int(line["Size"])) for line in reversed(lines)]


def _shortened(error: Exception) -> str:
    text = str(error).partition("failed: ")[2] or str(error)
    return text if len(text) < 120 else text[:117] + "..."

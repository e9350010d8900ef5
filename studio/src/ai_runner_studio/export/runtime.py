"""Runtime: an engine that runs containers, with what it tells of images and of them."""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRequest:
    """How a container is to be started.

    Attributes:
        network: ``none``, or ``container:<id>`` for that of another one.
        mounts: (path here, path in the container), all of them read-only.
        entrypoint: instead of the image's own command; `command`: its arguments.
        gpu: index of the GPU that it gets.
    """

    image: str
    name: str
    network: str
    environment: dict[str, str] = field(default_factory=dict)
    mounts: tuple[tuple[Path, str], ...] = ()
    entrypoint: str | None = None
    command: tuple[str, ...] = ()
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image, or a line of its history that made none (0 bytes)."""

    created_by: str
    size_bytes: int


class Runtime(Engine):
    """An engine that can run what it, or its companion over the same store, has built."""

    @property
    def why_it_cannot_run(self) -> str:
        """What keeps containers from running on this machine; empty where nothing does."""
        return ""

    @abstractmethod
    async def layers(self, image: str) -> list[Layer]:
        """The lines of the image's history, the base's first."""

    async def inspect(self, image: str) -> dict[str, Any]:
        """What the engine tells of an image: ``Config``, ``Architecture``, ``Size`` in bytes."""
        return dict(json.loads(await self.call("image", "inspect", image))[0])

    def run_command(self, request: ContainerRequest, *, detached: bool) -> list[str]:
        """The complete command that starts a container; one that is not detached is removed when it ends."""
        flags = ["--detach"] if detached else ["--rm"]
        command = [*self.program, "run", *flags, "--name", request.name, "--network", request.network]
        command += self.run_flags(request)
        for name, value in request.environment.items():
            command += ["--env", f"{name}={value}"]
        for source, target in request.mounts:
            command += ["--volume", f"{source}:{target}:ro"]
        if request.entrypoint is not None:
            command += ["--entrypoint", request.entrypoint]
        return [*command, request.image, *request.command]

    def run_flags(self, request: ContainerRequest) -> list[str]:
        """Flags of `run` that only this engine has."""
        return ["--gpus", f"device={request.gpu}"] if request.gpu is not None else []

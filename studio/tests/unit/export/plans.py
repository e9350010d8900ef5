"""Plans to write Dockerfiles and contexts of."""

from __future__ import annotations

from typing import Any

from ai_runner_studio.export.plan import ImagePlan, Installer, Layer, OwnPackage, Requirement, TorchBuild


def requirement(name: str, origin: Any = "environment", version: str = "1.0") -> Requirement:
    return Requirement(name=name, version=version, hashes=(f"sha256:{'a' * 64}",), origin=origin)


def plan(**changed: Any) -> ImagePlan:
    """A plan with every layer, and with what the test changes in it."""
    values: dict[str, Any] = {
        "name": "tint",
        "version": "1.2.0",
        "model_id": "tint",
        "pipeline_import": "tint.pipeline:Tint",
        "params_import": "tint.params:TintParams",
        "command": ("tint-runner",),
        "base": "python:3.11-slim-bookworm",
        "python": "3.11",
        "platform": "linux/amd64",
        "torch": TorchBuild(flavour="cpu", version="2.13.0+cpu"),
        "layers": (
            Layer(name="torch", file="req/10-torch.txt", requirements=(requirement("torch", version="2.13.0+cpu"),)),
            Layer(name="dependencies", file="req/20-dependencies.txt", requirements=(requirement("numpy"),)),
            Layer(name="runner", file="req/30-runner.txt", requirements=(requirement("ai-runner-base", "own"),)),
            Layer(name="application", file="req/40-application.txt", requirements=(requirement("tint", "own"),)),
        ),
        "own": (
            OwnPackage(
                name="tint",
                version="1.2.0",
                wheel="tint-1.2.0-py3-none-any.whl",
                sha256="b" * 64,
                bytes=10,
                role="pipeline",
            ),
        ),
        "installer": Installer(version="0.13.9", sha256="c" * 64),
        "environment": {
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "HOST": "0.0.0.0",
            "PORT": "8000",
            "VERSION": "1.2.0",
        },
        "labels": {
            "org.opencontainers.image.title": "tint",
            "org.opencontainers.image.description": 'the "tint" of $5',
        },
    }
    return ImagePlan(**{**values, **changed})

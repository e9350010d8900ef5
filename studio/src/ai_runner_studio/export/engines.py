"""Which engine builds, and which one runs what it has built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..errors import EngineError, UsageError
from .engine import Engine, EngineName

if TYPE_CHECKING:
    from .runtime import Runtime

NAMES: tuple[EngineName, ...] = get_args(EngineName)  # in the order in which they are looked for


async def find_builder(name: str | None = None, store: Path | None = None) -> Engine:
    """The engine of that name, or the first one that is there and answers.

    Args:
        store: folder of an image store of its own, which docker, whose images are its server's, cannot have.

    Raises:
        UsageError: no engine has that name, or it cannot have a store of its own.
        EngineError: it, or every one, is missing or does not answer; the message says which and why.
    """
    if name is not None and name not in NAMES:
        raise UsageError(f"'{name}' is no builder that is known", hint=f"--builder takes {', '.join(NAMES)}")
    if name == "docker" and store is not None:
        raise UsageError("docker keeps its images in its server", hint="leave out --image-store, or name a builder")
    wanted = [name] if name else [each for each in NAMES if store is None or each != "docker"]
    refused = []
    for each in wanted:
        try:
            return await _find(each, store)
        except EngineError as error:
            refused.append(str(error))
    raise EngineError(
        "no builder can be used: " + "; ".join(refused),
        hint="install buildah and podman (they need no server) or start docker; --output DIR writes the build context "
        "for a build elsewhere",
    )


async def find_runtime(builder: Engine, store: Path | None = None) -> Runtime:
    """What runs the images of a builder: itself, or podman for buildah.

    Raises:
        EngineError: nothing can; the message says why.
    """
    from .containers_storage import Podman, Store
    from .runtime import Runtime

    runtime = builder if isinstance(builder, Runtime) else await Podman.find(Store(store))
    if reason := runtime.why_it_cannot_run:
        raise EngineError(reason)
    return runtime


async def _find(name: str, store: Path | None) -> Engine:
    from .containers_storage import Buildah, Podman, Store
    from .docker import Docker

    if name == "docker":
        return await Docker.find()
    return await (Podman if name == "podman" else Buildah).find(Store(store))

"""Podman and buildah: two programs over one store, which need no server."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import BuildRequest, Engine, EngineName, call, installed, located
from .plan import EPOCH_S
from .runtime import ContainerRequest, Layer, Runtime

_SYS_RESOURCE = 24  # number of the capability that lets a process raise its limits
_LONGEST_RUN_FOLDER = 50  # characters; sockets lie below it
_ENOUGH = 4096  # open files, and processes, of one container


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this machine lets containers do.

    Attributes:
        raises_limits: a process may raise its resource limits, as podman does for containers of root.
        unified_cgroups: cgroup v2 alone, which crun needs.
        systemd: it runs, so cgroups are its matter and events go to its journal.
    """

    raises_limits: bool
    unified_cgroups: bool
    systemd: bool

    @classmethod
    def here(cls) -> Kernel:
        """Of this machine, for this user."""
        status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
        effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
        return cls(
            raises_limits=os.geteuid() != 0 or bool(int(effective, 16) >> _SYS_RESOURCE & 1),
            unified_cgroups=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
            systemd=Path("/run/systemd/system").exists(),
        )


@dataclass(frozen=True, slots=True)
class Store:
    """Where images are kept. `folder`: a store of its own below it; None for the user's usual one."""

    folder: Path | None = None

    @property
    def options(self) -> list[str]:
        """What comes before every verb."""
        if self.folder is None:
            return []
        return ["--root", str(self.folder / "graph"), "--runroot", str(self.run_folder), "--storage-driver", "overlay"]

    @property
    def run_folder(self) -> Path:
        """Where it keeps what is running: below the folder; podman takes no long path, so else in the temporary one."""
        assert self.folder is not None
        inside = self.folder / "run"
        if len(str(inside)) <= _LONGEST_RUN_FOLDER:
            return inside
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"ai-runner-images-{digest}"


class ContainersStorage(Engine):
    """What podman and buildah share."""

    def __init__(self, path: str, store: Store, kernel: Kernel, driver: str) -> None:
        """`driver`: of the store, as the program tells it."""
        self._path = path
        self._store = store
        self._kernel = kernel
        self._driver = driver

    @property
    def program(self) -> list[str]:
        return [self._path, *self._store.options]

    @property
    def warnings(self) -> list[str]:
        if self._driver != "vfs":
            return []
        return [
            f"{self.name} keeps images by the 'vfs' driver, which copies all of them for every step: slow and large. "
            "Install fuse-overlayfs, or name a folder on ext4 or xfs by --image-store."
        ]

    @property
    def oci_runtime(self) -> str | None:
        """Path of what can run containers here: crun or runc; None if nothing can."""
        wanted = ["crun", "runc"] if self._kernel.unified_cgroups else ["runc"]
        return next((path for path in map(located, wanted) if path), None)

    def build_command(self, request: BuildRequest, _id_file: Path) -> list[str]:
        # HEALTHCHECK is not in the OCI format. --layers: podman does it anyway, buildah only when told.
        # No --iidfile: with it buildah does not tell the images of its steps, by which what it leaves is known as ours.
        command = [*self.program, "build", "--format", "docker", "--layers", *self._isolation(request)]
        command += ["--no-cache"] if request.no_cache else []
        command += ["--platform", request.platform] if request.platform else []
        command += ["--pull-never"] if request.local_base else []
        command += ["--timestamp", str(EPOCH_S)]  # of the image and of each file in its layers
        for argument in request.build_args:
            command += ["--build-arg", argument]
        return [*command, *request.engine_args, str(request.context)]

    @property
    def lock_file(self) -> Path | None:
        from platformdirs import user_state_path

        return (self._store.folder or user_state_path("ai-runner-studio", appauthor=False)) / "build.lock"

    def _isolation(self, request: BuildRequest) -> list[str]:
        """Steps run in containers where that can be, else behind a chroot, which has this machine's network."""
        if any(argument.startswith("--isolation") for argument in request.engine_args):
            return []
        if self.oci_runtime is None or not self._kernel.raises_limits:
            return ["--isolation", "chroot"]
        return [] if request.network else ["--network", "none"]


class Buildah(ContainersStorage):
    """Builds; what it has built podman can run."""

    name: EngineName = "buildah"

    @classmethod
    async def find(cls, store: Store) -> Buildah:
        """The one that is installed.

        Raises:
            EngineError: there is none, or it cannot use the store.
        """
        path = installed("buildah")
        info = json.loads(await call([path, *store.options, "info"]))
        return cls(path, store, Kernel.here(), str(info["store"]["GraphDriverName"]))

    async def working_containers(self) -> dict[str, tuple[str, str]]:
        listed = json.loads(await self.call("containers", "--json")) or []
        return {entry["id"]: (entry["imageid"], entry["imagename"]) for entry in listed if entry["builder"]}

    async def remove_working_container(self, container: str) -> None:
        await self.call("rm", container)


class Podman(ContainersStorage, Runtime):
    """Builds and runs, with whatever flags this machine needs for that."""

    name: EngineName = "podman"

    @classmethod
    async def find(cls, store: Store) -> Podman:
        """The one that is installed.

        Raises:
            EngineError: there is none, or it cannot use the store.
        """
        path = installed("podman")
        found = cls(path, store, Kernel.here(), "")
        info: dict[str, Any] = json.loads(await found.call("info", "--format", "json"))
        found._driver = str(info["store"]["graphDriverName"])
        return found

    @property
    def program(self) -> list[str]:
        options = [] if self._kernel.systemd else ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        if self.oci_runtime is not None:
            options += ["--runtime", self.oci_runtime]
        return [self._path, *self._store.options, *options]

    @property
    def why_it_cannot_run(self) -> str:
        """Empty where it can."""
        if self.oci_runtime is None:
            needed = "crun or runc" if self._kernel.unified_cgroups else "runc (crun cannot use this machine's cgroups)"
            return f"podman needs {needed}, which is not installed"
        return ""

    def run_flags(self, request: ContainerRequest) -> list[str]:
        flags = [] if self._kernel.raises_limits else self._own_limits()
        if request.gpu is not None:
            flags += ["--device", f"nvidia.com/gpu={request.gpu}"]
        return flags

    @staticmethod
    def _own_limits() -> list[str]:
        """Limits instead of podman's own, which are higher than what a process here may have."""
        flags = []
        for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
            hard = resource.getrlimit(number)[1]
            limit = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
            flags += ["--ulimit", f"{name}={limit}:{limit}"]
        return flags

    async def layers(self, image: str) -> list[Layer]:
        lines = json.loads(await self.call("history", "--no-trunc", "--format", "json", image))
        return [Layer(line["CreatedBy"], int(line["size"])) for line in reversed(lines)]

    async def working_containers(self) -> dict[str, tuple[str, str]]:
        listed = json.loads(await self.call("ps", "--all", "--external", "--format", "json")) or []
        ours = [entry for entry in listed if entry["Command"] in (["buildah"], ["storage"])]
        return {entry["Id"]: (entry["ImageID"], entry["Image"]) for entry in ours}

    async def remove_working_container(self, container: str) -> None:
        await self.call("rm", "--force", container)

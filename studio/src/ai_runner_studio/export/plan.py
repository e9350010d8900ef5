"""ImagePlan: everything that a production image is made of, before any builder runs.

It is data alone: JSON there and back without loss, the same text for the same project, no path of the machine that
made it. A build context holds it as ``image.json``.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SCHEMA_VERSION: Literal[1] = 1
MODELS_DIR = "/models"
PORT = 8000
USER_ID = 10001
EPOCH_S = 315_532_800  # 1980-01-01, the time of every file: when it was written says nothing of what it is

Platform = Literal["linux/amd64", "linux/arm64"]
LayerName = Literal["torch", "dependencies", "runner", "application"]
Origin = Literal["uv.lock", "environment", "index", "own"]
Role = Literal["runner", "pipeline", "entrypoint", "dependency"]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-]+[a-z0-9]+)*$")]
ImportPath = Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TorchBuild(_Part):
    """Which build of torch the image has.

    Attributes:
        flavour: ``cpu``, ``cu130`` and the like; ``none``: nothing installs torch, see `from_base`.
        version: the exact one with its local part, e.g. ``2.13.0+cpu``; empty with ``none``.
        from_base: torch is needed and left to the base image, whose Python packages the image's own ones see.
    """

    flavour: Annotated[str, StringConstraints(pattern=r"^(cpu|cu\d{2,3}|rocm[\d.]+|xpu|none)$")]
    version: str = ""
    from_base: bool = False

    @property
    def needs_gpu(self) -> bool:
        """Whether this build is made for a NVIDIA GPU."""
        return self.flavour.startswith("cu")


class Requirement(_Part):
    """One distribution, pinned.

    Attributes:
        hashes: ``sha256:<hex>`` of each file that may be installed for it, sorted.
        origin: where version and hashes are from: the project's lock, its environment, the package index alone
            (another Python, platform or torch than the environment's), or a wheel of the context itself.
    """

    name: Name
    version: str
    hashes: tuple[Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")], ...] = Field(min_length=1)
    origin: Origin

    @property
    def line(self) -> str:
        """As a line of a requirement file."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)])


class Layer(_Part):
    """Requirements that are installed in one step, after those of the layers before.

    Attributes:
        file: the requirement file in the context.
    """

    name: LayerName
    file: str
    requirements: tuple[Requirement, ...]


class OwnPackage(_Part):
    """A wheel that comes with the context, because no index has it.

    Attributes:
        wheel: its file name, in ``pkgs/``.
        role: what it is for. generated: made by the export, since the project has no such package.
    """

    name: Name
    version: str
    wheel: str
    sha256: Sha256
    bytes: int
    role: Role
    generated: bool = False


class LeftOut(_Part):
    """Something of the project that is not in the image.

    Attributes:
        what: path in the project, or the thing's name.
        bytes: its size; None where nobody looked (a cache, a version control folder).
    """

    what: str
    why: str
    bytes: int | None = None


class Installer(_Part):
    """The uv that installs inside the build, for the image's platform; it does not stay in the image."""

    version: str
    sha256: Sha256


class ImageUser(_Part):
    """Whom the image's process runs as."""

    uid: int = USER_ID
    gid: int = USER_ID


class ImagePlan(_Part):
    """A production image, complete.

    Attributes:
        name: of the image, without registry and tag. version: of the pipeline's package.
        model_id: what the network calls the pipeline (the spec's name).
        pipeline_import, params_import: ``package.module:Class``.
        command: what the container runs, as a list of words: the entrypoint's console script.
        base: reference of the base image. python: ``3.11``. platform: ``linux/amd64`` or ``linux/arm64``.
        layers: in the order in which they are installed, the one that changes least first; empty ones are not there.
        own: wheels in the context; each is a requirement of one layer too.
        installer: what installs them.
        system_packages: Debian packages, sorted.
        environment, labels: of the image, complete.
        left_out: what of the project is not in the image, and why.
        dockerfile_lines: the project's own steps, run as root after the dependencies.
        offline: the context has the third-party wheels too, in ``wheels/``.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Name
    version: str
    model_id: str
    pipeline_import: ImportPath
    params_import: ImportPath | None
    command: tuple[str, ...] = Field(min_length=1)
    base: str
    python: Annotated[str, StringConstraints(pattern=r"^3\.\d+$")]
    platform: Platform
    torch: TorchBuild
    layers: tuple[Layer, ...]
    own: tuple[OwnPackage, ...]
    installer: Installer
    system_packages: tuple[str, ...] = ()
    models_dir: str = MODELS_DIR
    user: ImageUser = ImageUser()
    port: int = PORT
    environment: dict[str, str]
    labels: dict[str, str]
    left_out: tuple[LeftOut, ...] = ()
    dockerfile_lines: tuple[str, ...] = ()
    offline: bool = False

    @property
    def tag(self) -> str:
        """``name:version``, a valid reference of a local image."""
        return f"{self.name}:{re.sub(r'[^A-Za-z0-9_.-]', '-', self.version)[:128]}"

    @property
    def pins(self) -> dict[str, tuple[str, ...]]:
        """Distribution -> ``sha256:<hex>`` of each file that may be installed for it."""
        return {one.name: one.hashes for layer in self.layers for one in layer.requirements}

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`, hex: two plans with the same digest are the same plan."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The plan as text: keys sorted, two spaces, one line end at the end."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ImagePlan:
        """The plan that `to_json` wrote.

        Raises:
            pydantic.ValidationError: it is none, or of another schema version.
        """
        return cls.model_validate_json(text)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema of what `to_json` writes."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **cls.model_json_schema(mode="serialization"),
        }

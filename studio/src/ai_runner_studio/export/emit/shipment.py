"""Shipment: an image and the terms that it is run on; what the files of all kinds are made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from ...errors import UsageError
from ..plan import ImagePlan

Kind = Literal["kubernetes", "compose", "aimodels", "runners"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LONGEST_NAME = 52  # of 63 that a DNS label may have: Kubernetes and we append to it
MOST_REPLICAS = 1000
NO_MODELS = "none"
MOST_GPUS = 16
END_WITHIN_S = 15  # the runner ends within 7 s, and orchestrators give 8 s
START_WITHIN_S = 180  # until /health answers; as long as an orchestrator waits
TMP = "/tmp"

# registry[:port]/path[:tag][@digest], as docker and podman take it (distribution's reference grammar).
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?"
_REFERENCE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.A)
_SIZE = re.compile(r"[1-9][0-9]*(?:Mi|Gi|Ti)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How an image is to be run; checked when they are made.

    Attributes:
        kinds: of files that are wanted. With ``runners`` the others turn the routes of the live-runner contract on.
        image: reference that the engines pull; empty: the plan's own tag, which is a local one.
        replicas: runners to start. One serves one stream, so each has an address of its own.
        gpus: of each runner; None: one if the image's torch is built for CUDA, else none.
        models: where weights are: a size such as ``50Gi`` (a volume that the engine makes), or a folder of the host;
            ``none``: the pipeline has no weights.
        runner_urls: by which an orchestrator reaches the runners, one for each; empty: by the names of the engine.
        environ: the environment that ``LIVE_RUNNER_*`` settings of runners.json are taken from.

    Raises:
        UsageError: one of them cannot be.
    """

    kinds: tuple[Kind, ...] = KINDS
    image: str = ""
    replicas: int = 1
    gpus: int | None = None
    models: str = "50Gi"
    runner_urls: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise UsageError(f"--emit {unknown[0]!r} is no kind of file", f"it is one of {', '.join(KINDS)}")
        if self.image and not _REFERENCE.fullmatch(self.image):
            raise UsageError(
                f"--image {self.image!r} is no reference of an image",
                "it looks like registry.example/team/name:1.0, in lower case but for the tag",
            )
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise UsageError(f"--replicas is {self.replicas}", f"it is 1 to {MOST_REPLICAS}")
        if self.gpus is not None and not 0 <= self.gpus <= MOST_GPUS:
            raise UsageError(f"--gpus is {self.gpus}", f"it is 0 to {MOST_GPUS}, for each runner")
        self._check_models()
        if self.runner_urls and len(self.runner_urls) != self.replicas:
            raise UsageError(
                f"--runner-url is given {len(self.runner_urls)} times, but --replicas is {self.replicas}",
                "every runner serves one stream and needs an address of its own: give one URL for each",
            )

    def _check_models(self) -> None:
        if self.models == NO_MODELS or _SIZE.fullmatch(self.models):
            return
        parts = self.models.split("/")
        if parts[0] or ".." in parts or not self.models.strip("/") or re.search(r"[\x00-\x1f:$]", self.models):
            raise UsageError(
                f"--models-volume {self.models!r} is neither a size, a folder nor none",
                "use a size such as 50Gi for a volume, a whole path such as /srv/models for a folder of the host, or "
                "none for a pipeline without weights",
            )


@dataclass(frozen=True)
class Shipment:
    """An image, and the terms that it is run on: what the files of all kinds are made from."""

    plan: ImagePlan
    terms: Terms = Terms()

    @property
    def reference(self) -> str:
        """What the engines pull."""
        return self.terms.image or self.plan.tag

    @cached_property
    def name(self) -> str:
        """The plan's name as a DNS label that begins with a letter."""
        label = re.sub(r"[^a-z0-9]+", "-", self.plan.name.lower()).strip("-")
        label = label if label[:1].isalpha() else f"runner-{label}"
        return label[:LONGEST_NAME].rstrip("-")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of each runner."""
        if self.terms.replicas == 1:
            return (self.name,)
        return tuple(f"{self.name}-{index}" for index in range(self.terms.replicas))

    @property
    def gpu_count(self) -> int:
        """GPUs of each runner."""
        return int(self.plan.torch.needs_gpu) if self.terms.gpus is None else self.terms.gpus

    @property
    def has_models(self) -> bool:
        """Whether the pipeline has weights, which are fetched before it serves."""
        return self.terms.models != NO_MODELS

    @property
    def live_runner(self) -> bool:
        """Whether the routes of the live-runner contract are on."""
        return "runners" in self.terms.kinds

    @property
    def models_folder(self) -> str:
        """The folder of the host that has the weights; empty: a volume."""
        return self.terms.models if self.terms.models.startswith("/") else ""

    @property
    def models_size(self) -> str:
        """Of the volume that has the weights; empty: there is none, or a folder of the host."""
        return self.terms.models if self.has_models and not self.models_folder else ""

    @property
    def ports(self) -> tuple[int, ...]:
        """On the host, where the runners share one (Compose)."""
        return tuple(self.plan.port + index for index in range(self.terms.replicas))

    @property
    def urls(self) -> tuple[str, ...]:
        """By which an orchestrator reaches each runner: in the cluster, or else on the host itself."""
        if self.terms.runner_urls:
            return self.terms.runner_urls
        if "kubernetes" not in self.terms.kinds:
            return tuple(f"http://127.0.0.1:{port}" for port in self.ports)
        if self.terms.replicas == 1:
            return (f"http://{self.name}:{self.plan.port}",)
        return tuple(f"http://{name}.{self.name}:{self.plan.port}" for name in self.names)

    @property
    def environment(self) -> dict[str, str]:
        """What a runner needs beyond the image's own: with a root that is read-only, caches go below HOME."""
        return {"HOME": TMP} | ({"LIVE_RUNNER": "1"} if self.live_runner else {})

    @property
    def preparing(self) -> dict[str, str]:
        """The same for the step that fetches weights: the only one that may ask the network for them."""
        offline = {name for name in self.plan.environment if name.endswith("_OFFLINE")}
        return {"HOME": TMP, "PREPARE_MODELS": "1", **dict.fromkeys(sorted(offline), "0")}

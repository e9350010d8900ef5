"""Planner: from the project's settings to an `ImagePlan`, and the files that its context needs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..interpreter import Interpreter
from .application import RUNNER, Application, find_application
from .closure import Wanted, walk
from .git_state import published_at, revision
from .image_settings import ImageSettings, default_base
from .installer import fetch_installer
from .inventory import canonical, take_inventory
from .lock import find_lock
from .own_package import read_pyproject
from .package_index import PackageIndex
from .pins import Pins
from .plan import MODELS_DIR, PORT, ImagePlan, Layer, LayerName, OwnPackage, Requirement, Role, TorchBuild
from .target import Target
from .wheel import WheelFile

Tell = Callable[[str], None]

LAYER_FILES: dict[LayerName, str] = {
    "torch": "req/10-torch.txt",
    "dependencies": "req/20-dependencies.txt",
    "runner": "req/30-runner.txt",
    "application": "req/40-application.txt",
}
# What torch brings and what is released with it: gigabytes that change with torch alone. Its small dependencies are
# among the others: a new version of one of them must not push torch again.
_WITH_TORCH = re.compile(r"torch|torchvision|torchaudio|(pytorch-)?triton(-.*)?|nvidia-.*|cuda-.*")
# Debian packages without which a wheel does not load.
_SYSTEM_NEEDS = {
    "opencv-python": ("libgl1", "libglib2.0-0"),
    "opencv-contrib-python": ("libgl1", "libglib2.0-0"),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan with what a context is written from.

    Attributes:
        wheels: own wheels on this machine. installer: the uv for the image's platform.
        index: for the wheels of ``--offline``. private: names of packages that no public index has.
        torch_index: flavour of PyTorch's index that torch is from; empty: the project's own index has it.
    """

    plan: ImagePlan
    wheels: tuple[Path, ...]
    installer: Path
    index: PackageIndex
    private: tuple[str, ...]
    torch_index: str = ""


def make_plan(
    settings: ImageSettings, interpreter: Interpreter, workshop: Path, output: Path | None, tell: Tell
) -> Draft:
    """Plan the image of a project. Nothing is written but below `workshop`.

    Args:
        interpreter: the project's, checked. workshop: an empty folder for wheels, which outlives the draft's use.
        output: the folder that the context will be written to, if it is.
        tell: called with what is being done.

    Raises:
        ExportError, UsageError: the project cannot be made into an image; the message says why and the way out.
    """
    run = settings.run
    tell(f"asking {interpreter.path} what is installed")
    names = [run.pipeline_import, *([run.params_import] if run.params_import else [])]
    modules = tuple(dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names))
    inventory = take_inventory(interpreter, run.project, modules)
    target = Target(settings.python_version or inventory.python, settings.platform)
    application = find_application(settings, inventory, interpreter, workshop, tell)
    index = PackageIndex(interpreter.path, target, run.project, tell)
    pins = Pins(
        inventory=inventory,
        target=target,
        index=index,
        own={wheel.name: wheel for wheel in application.wheels},
        build=application.build,
        torch=settings.torch,
        lock=find_lock(application.folder, target),
    )
    tell("pinning dependencies" + (f" by {pins.lock.path.name}" if pins.lock else " by the environment and its index"))
    wanted = pins.resolve([*((name, "the image") for name in application.roots), (RUNNER, "the image")])
    tell(f"{len(wanted)} packages pinned; fetching the installer")
    installer, installer_path = fetch_installer(settings.platform, index)
    torch = pins.torch_build(wanted)
    plan = ImagePlan(
        name=application.name,
        version=application.version,
        model_id=application.model_id,
        pipeline_import=run.pipeline_import,
        params_import=application.params_import,
        command=(application.entrypoint.script,),
        base=settings.base or default_base(target.python),
        python=target.python,
        platform=settings.platform,
        torch=torch,
        layers=_layers(pins, wanted, application, target),
        own=tuple(_own(wheel, application) for _, wheel in sorted(pins.own.items()) if wheel.name in wanted),
        installer=installer,
        system_packages=_system_packages(settings, wanted),
        environment=_environment(settings, application, torch),
        labels=_labels(settings, application, torch, output),
        left_out=tuple(application.left_out),
        dockerfile_lines=settings.steps,
        offline=settings.offline,
    )
    if application.pipelines[0] in application.generated:
        plan = _versioned_by_contents(plan)
    wheels = tuple(wheel.path for name, wheel in sorted(pins.own.items()) if name in wanted)
    return Draft(plan, wheels, installer_path, index, tuple(sorted(pins.private)), pins.torch_index)


def _versioned_by_contents(plan: ImagePlan) -> ImagePlan:
    """Return the plan with a version made of everything that is in the image: nobody has given one."""
    said: Any = {"version": True, "labels": True, "left_out": True, "offline": True, "environment": {"VERSION"}}
    contents = json.dumps(plan.model_dump(mode="json", exclude=said), sort_keys=True)
    version = f"0.0.0+{hashlib.sha256(contents.encode()).hexdigest()[:12]}"
    named = {"environment": "VERSION", "labels": "org.opencontainers.image.version"}
    changed = {
        table: {key: version if (key, value) == (name, plan.version) else value for key, value in values.items()}
        for table, name in named.items()
        for values in [getattr(plan, table)]
    }
    return plan.model_copy(update={"version": version, **changed})


def _layers(pins: Pins, wanted: dict[str, Wanted], application: Application, target: Target) -> tuple[Layer, ...]:
    heavy = {name for name in walk([("torch", "")], pins.requires, target) if _WITH_TORCH.fullmatch(name)}
    heavy |= {name for name in wanted if name in ("torchvision", "torchaudio")} if "torch" in wanted else set()
    layers: dict[LayerName, list[Requirement]] = {name: [] for name in LAYER_FILES}
    for name in sorted(wanted):
        requirement = _requirement(name, pins)
        if requirement is None:
            continue
        own_code = name in pins.own or name in application.roots
        layer: LayerName = "runner" if name == RUNNER else "application" if own_code else "dependencies"
        layers["torch" if name in heavy and not own_code else layer].append(requirement)
    return tuple(
        Layer(name=name, file=LAYER_FILES[name], requirements=tuple(lines)) for name, lines in layers.items() if lines
    )


def _requirement(name: str, pins: Pins) -> Requirement | None:
    if name in pins.own:
        wheel = pins.own[name]
        return Requirement(name=name, version=wheel.version, hashes=(f"sha256:{wheel.sha256}",), origin="own")
    return pins.pinned.get(name)  # None: torch, where the base image brings it


def _own(wheel: WheelFile, application: Application) -> OwnPackage:
    roles: dict[str, Role] = {application.entrypoint.distribution: "entrypoint"}
    roles |= dict.fromkeys(application.pipelines, "pipeline")
    roles[RUNNER] = "runner"
    return OwnPackage(
        name=wheel.name,
        version=wheel.version,
        wheel=wheel.path.name,
        sha256=wheel.sha256,
        bytes=wheel.path.stat().st_size,
        role=roles.get(wheel.name, "dependency"),
        generated=wheel.name in application.generated,
    )


def _system_packages(settings: ImageSettings, wanted: dict[str, Wanted]) -> tuple[str, ...]:
    needed = {package for name in wanted for package in _SYSTEM_NEEDS.get(name, ())}
    return tuple(sorted(needed.union(settings.apt)))


def _environment(settings: ImageSettings, application: Application, torch: TorchBuild) -> dict[str, str]:
    gpu = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"}
    return {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOST": "0.0.0.0",
        "PORT": str(PORT),
        "MODEL_DIR": MODELS_DIR,
        "HF_HOME": f"{MODELS_DIR}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "VERSION": application.version,
        **(gpu if torch.needs_gpu else {}),
        **settings.environment,
    }


def _labels(
    settings: ImageSettings, application: Application, torch: TorchBuild, output: Path | None
) -> dict[str, str]:
    project = read_pyproject(application.folder).get("project", {})
    urls = {canonical(str(name)): str(url) for name, url in project.get("urls", {}).items()}
    source = urls.get("source") or urls.get("repository") or published_at(application.folder)
    licence = project.get("license")
    labels = {
        "org.opencontainers.image.title": application.name,
        "org.opencontainers.image.version": application.version,
        "org.opencontainers.image.description": str(project.get("description", "")),
        "org.opencontainers.image.licenses": licence if isinstance(licence, str) else "",
        "org.opencontainers.image.source": source,
        "org.opencontainers.image.revision": revision(application.folder, output),
        "ai-runner.model-id": application.model_id,
        "ai-runner.pipeline-import": settings.run.pipeline_import,
        "ai-runner.params-import": application.params_import or "",
        "ai-runner.torch": f"{torch.version} ({torch.flavour})" if torch.version else torch.flavour,
    }
    return {**{name: value for name, value in labels.items() if value}, **settings.labels}

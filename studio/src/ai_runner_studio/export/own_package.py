"""Own packages: code that no index has, found from the pipeline's module and made into wheels."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ..errors import ExportError
from ..interruption import scratch_folder
from .inventory import Installed, Inventory, canonical
from .package_index import run_pip
from .pip_progress import PipProgress
from .sources import Source, copy_sources
from .wheel import WheelFile, files_of, normalise, read_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EPOCH = "315532800"  # 1980-01-01: no build shows when it was made


@dataclass(frozen=True, slots=True)
class OwnSource:
    """A folder that a package is built from.

    Attributes:
        name: canonical name of the distribution. version: the installed one, None where it is not installed.
    """

    name: str
    folder: Path
    version: str | None = None


def source_of(module: str, inventory: Inventory, project: Path) -> OwnSource | Installed | None:
    """What a top-level module belongs to: a folder to build, an installed distribution, or no package at all.

    Raises:
        ExportError: a pyproject.toml on the way cannot be read.
    """
    origin = inventory.origins.get(module)
    if origin is None:
        return None
    for one in inventory.distributions.values():
        folder = one.local_folder
        if folder and origin.is_relative_to(folder) and not origin.is_relative_to(inventory.prefix):
            return OwnSource(one.name, folder, one.version)
    if origin.is_relative_to(inventory.prefix) or "site-packages" in origin.parts:
        installed = inventory.providing(module)
        if installed and installed.local_folder:
            return OwnSource(installed.name, installed.local_folder, installed.version)
        return installed
    return _packaged_at(origin, inventory, project)


def _packaged_at(origin: Path, inventory: Inventory, project: Path) -> OwnSource | None:
    """The nearest folder upward with a package's description, the project's own folder being the last."""
    for folder in origin.parents:
        name = package_name(folder)
        if name:
            installed = inventory.distributions.get(name)
            return OwnSource(name, folder, installed.version if installed else None)
        if folder == project or (folder / ".git").exists():
            break
    return None


def package_name(folder: Path) -> str:
    """Canonical name of the package that a folder describes; empty where it describes none.

    An application, as uv calls a project that is not built, is none.

    Raises:
        ExportError: its pyproject.toml cannot be read.
    """
    described = read_pyproject(folder)
    name = described.get("project", {}).get("name")
    return canonical(str(name)) if name and _is_built(described, folder) else ""


def _is_built(described: dict[str, Any], folder: Path) -> bool:
    """Whether a folder is built into a package: by uv's rules, and where setuptools has a file of its own."""
    said = described.get("tool", {}).get("uv", {}).get("package")
    if isinstance(said, bool):
        return said
    setuptools = any((folder / name).is_file() for name in ("setup.py", "setup.cfg"))
    return "build-system" in described or "scripts" in described["project"] or setuptools


def read_pyproject(folder: Path) -> dict[str, Any]:
    """What a folder's pyproject.toml says; empty without one.

    Raises:
        ExportError: it cannot be read.
    """
    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


def build_wheel(
    source: OwnSource, kept: list[Source], inventory: Inventory, python: str, to: Path, tell: Callable[[str], None]
) -> WheelFile:
    """Build a package by its own build backend, from a copy: the user's folder is never written to.

    `tell`: called, from another thread, with what takes long.

    Raises:
        ExportError: it does not build, is empty, or holds compiled code.
        OSError: its files cannot be copied.
    """
    with scratch_folder("ai-runner-build-") as place:
        copy, made = place / "source", place / "made"
        copy_sources(source.folder, kept, copy)
        done = _run_build(source, copy, made, inventory, python, PipProgress(tell, 1).read)
        wheels = list(made.glob("*.whl"))
        if done.returncode or not wheels:
            raise ExportError(
                f"the package in {source.folder} cannot be built:\n{_tail(done.stderr or done.stdout, str(place))}",
                "`pip wheel --no-deps .` in that folder shows the same; files that the export leaves out "
                "(weights, secrets, caches) are not there for the build either",
            )
        normalise(wheels[0])
        wheel = Path(to, wheels[0].name)
        shutil.move(wheels[0], wheel)
    built = read_wheel(wheel)
    if all(name.split("/")[0].endswith((".dist-info", ".data")) for name in files_of(wheel)):
        raise ExportError(
            f"the package {built.name} in {source.folder} is built empty",
            "its folder may be a link out of the project: copy the code into it, or name it in pyproject.toml",
        )
    if not built.pure:
        raise ExportError(
            f"{built.name} in {source.folder} holds compiled code: its wheel {wheel.name} fits this machine alone",
            "build it for the image's platform, publish it to an index, and install it from there",
        )
    return built


def _run_build(
    source: OwnSource, copy: Path, made: Path, inventory: Inventory, python: str, on_line: Callable[[str], None]
) -> Any:
    """pip, in the environment that has the backend already, else in one that pip makes for it."""
    asked = read_pyproject(source.folder).get("build-system", {}).get("requires", ["setuptools"])
    there = all(_is_installed(str(line), inventory) for line in asked)
    flags = ["--no-deps", "--wheel-dir", str(made), *(["--no-build-isolation"] if there else [])]
    environment = {"SOURCE_DATE_EPOCH": EPOCH}
    if source.version:  # backends that ask git have none in the copy
        environment |= {"SETUPTOOLS_SCM_PRETEND_VERSION": source.version}
    return run_pip(python, ["wheel", *flags, str(copy)], copy, environment, on_line)


def _is_installed(line: str, inventory: Inventory) -> bool:
    requirement = Requirement(line)
    installed = inventory.distributions.get(canonical(requirement.name))
    return installed is not None and requirement.specifier.contains(installed.version, prereleases=True)


def _tail(said: str, place: str) -> str:
    lines = [line for line in said.replace(place, "").strip().splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-12:])

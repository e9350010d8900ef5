"""Application: the project's own code in an image: the pipeline's package, its entrypoint, who they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runner.live.pipelines.spec import PipelineSpec

from ..errors import ExportError
from ..interpreter import Interpreter
from .entrypoint import Entrypoint, find_entrypoint, make_entrypoint
from .image_settings import ImageSettings
from .inventory import Installed, Inventory, canonical, take_inventory
from .loose_modules import Reach, defines, reach_of
from .own_package import OwnSource, build_wheel, source_of
from .plan import LeftOut
from .sources import WHY_CACHE, Source, outside, survey
from .wheel import WheelFile, files_of, write_wheel

RUNNER = "ai-runner-base"


@dataclass(slots=True)
class Application:
    """The project's own code.

    Attributes:
        name, version: of the image. model_id, params_import: as the entrypoint's spec has them.
        folder: of the pipeline's package, where its lock and revision are looked for.
        wheels: own wheels so far. roots: distributions that the image is made of.
        pipelines: those of them that hold the pipeline and its params. generated: those that were made for it.
        left_out: what of the folder is in none of them.
        build: makes a wheel of another package that is installed from a folder.
    """

    name: str
    version: str
    model_id: str
    params_import: str | None
    folder: Path
    entrypoint: Entrypoint
    build: Callable[[Installed], WheelFile]
    wheels: list[WheelFile] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    pipelines: list[str] = field(default_factory=list)
    generated: set[str] = field(default_factory=set)
    left_out: list[LeftOut] = field(default_factory=list)


def find_application(
    settings: ImageSettings, inventory: Inventory, interpreter: Interpreter, workshop: Path, tell: Callable[[str], None]
) -> Application:
    """Find or make the packages of the pipeline and its entrypoint.

    Raises:
        ExportError: there is no such pipeline, or its package cannot be built.
    """
    workbench = Workbench(settings, inventory, interpreter, workshop, tell)
    packages = workbench.pipeline_packages()
    main = packages[0]
    run = settings.run
    found = find_entrypoint(run.pipeline_import, main.wheel, inventory, settings.entrypoint)
    model_id = (
        (found.model_id if found else "") or settings.model_id or PipelineSpec(pipeline_cls=run.pipeline_import).name
    )
    params = run.params_import or (found.params_import if found else None)
    name = settings.name or _image_name(model_id)
    made = None
    if found is None:
        made, found = make_entrypoint(
            workshop,
            name=name,
            model_id=model_id,
            version=main.version,
            pipeline=run.pipeline_import,
            params=params,
            initial=run.params,
            package=main.name,
        )
    return Application(
        name=name,
        version=main.version,
        model_id=model_id,
        params_import=params,
        folder=main.folder,
        entrypoint=found,
        build=workbench.build_installed,
        wheels=[*(one.wheel for one in packages if one.wheel), *([made] if made else [])],
        roots=list(dict.fromkeys([*(one.name for one in packages), found.distribution])),
        pipelines=[one.name for one in packages],
        generated={*(one.name for one in packages if one.generated), *([made.name] if made else [])},
        left_out=workbench.left_out,
    )


def _image_name(text: str) -> str:
    """The text as a name that an image may have."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "pipeline"


@dataclass(frozen=True, slots=True)
class _Package:
    """What holds the pipeline or its params. `wheel` is None where an index has it."""

    name: str
    version: str
    folder: Path
    wheel: WheelFile | None
    generated: bool = False


@dataclass(slots=True)
class Workbench:
    """Where own wheels are made."""

    settings: ImageSettings
    inventory: Inventory
    interpreter: Interpreter
    workshop: Path
    tell: Callable[[str], None]
    left_out: list[LeftOut] = field(default_factory=list)

    def pipeline_packages(self) -> list[_Package]:
        """The package of the pipeline, and that of its params where it is another one."""
        run = self.settings.run
        packages: list[_Package] = []
        loose: list[str] = []
        for path in filter(None, (run.pipeline_import, run.params_import)):
            module, _, attribute = path.partition(":")
            top = module.partition(".")[0]
            self._check(top, module, attribute)
            source = source_of(top, self.inventory, run.project)
            if isinstance(source, OwnSource):
                package = self._built(source, module)
            elif isinstance(source, Installed):
                package = _Package(source.name, source.version, run.project, None)
            else:
                loose.append(top)
                continue
            if package.name not in [one.name for one in packages]:
                packages.append(package)
        if loose:
            packages.insert(0, self._generated(tuple(dict.fromkeys(loose))))
        return packages

    def build_installed(self, installed: Installed) -> WheelFile:
        """A wheel of a package that is installed from a folder."""
        folder = installed.local_folder
        assert folder is not None
        if not folder.is_dir():
            raise ExportError(
                f"{installed.name} was installed from {folder}, which is not there any more",
                f"install it again from where it is now, or from an index: pip install {installed.name}",
            )
        kept, left = survey(folder)
        # What a dependency's folder has beside its package is nobody's concern, but what it would miss is.
        self.left_out += [
            LeftOut(what=f"{installed.name}: {one.what}", why=one.why, bytes=one.bytes)
            for one in left
            if one.why != WHY_CACHE and one.bytes is not None
        ]
        return self._wheel(OwnSource(installed.name, folder, installed.version), kept)

    def _check(self, top: str, module: str, attribute: str) -> None:
        """Refuse a pipeline that is not there, as far as that can be told without importing anything."""
        origin = self.inventory.origins.get(top)
        run = self.settings.run
        if origin is None:
            raise ExportError(
                f"there is no module '{top}' in {run.project}, nor in the environment of {self.interpreter.path}",
                "correct --pipeline-import (package.module:Class), or name the project with --project",
            )
        inside = Path(origin, *module.split(".")[1:])
        files = [origin, inside.with_name(f"{inside.name}.py"), inside / "__init__.py"]
        file = next((one for one in files if one.is_file()), None)
        if file is None:
            raise ExportError(f"there is no module '{module}' below {origin}", "correct --pipeline-import")
        if file.suffix == ".py" and not defines(file, attribute.partition(".")[0]):
            raise ExportError(f"{file} defines no '{attribute}'", "correct the class that --pipeline-import names")

    def _built(self, source: OwnSource, module: str) -> _Package:
        kept, left = survey(source.folder)
        wheel = self._wheel(source, kept)
        files = files_of(wheel.path)
        inside = module.replace(".", "/")
        if not {f"{inside}.py", f"{inside}/__init__.py"} & files.keys():
            raise ExportError(
                f"the package {wheel.name} in {source.folder} is built without the module {module}",
                "let its pyproject.toml (packages, include) take it in",
            )
        packaged = {hashlib.sha256(data).hexdigest() for data in files.values()}
        self.left_out += sorted([*left, *outside(source.folder, kept, packaged)], key=lambda one: one.what)
        return _Package(wheel.name, wheel.version, source.folder, wheel)

    def _wheel(self, source: OwnSource, kept: list[Source]) -> WheelFile:
        self.tell(f"building {source.name}")
        return build_wheel(source, kept, self.inventory, self.interpreter.path, self.workshop)

    def _generated(self, modules: tuple[str, ...]) -> _Package:
        """A package of modules that belong to none, with what they import."""
        project = self.settings.run.project
        for module in modules:
            origin = self.inventory.origins[module]
            if origin is None or origin.parent != project:
                raise ExportError(
                    f"module '{module}' is in {origin}, which is neither in the project {project} nor in a package",
                    "move it into the project, or make it a package: a pyproject.toml with [project]",
                )
        reach = reach_of(modules, project, self.inventory)
        files = {path: file.read_bytes() for path, file in reach.files.items()}
        digest = hashlib.sha256()
        for path, data in sorted(files.items()):
            digest.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
        name = self.settings.name or _image_name(PipelineSpec(pipeline_cls=self.settings.run.pipeline_import).name)
        # The contents are the version: nobody has given one.
        version = f"0.0.0+{digest.hexdigest()[:12]}"
        wheel = write_wheel(self.workshop, f"{name}-pipeline", version, files, self._requires(reach, project))
        kept, left = survey(project)
        packaged = {hashlib.sha256(data).hexdigest() for data in files.values()}
        self.left_out += sorted([*left, *outside(project, kept, packaged)], key=lambda one: one.what)
        return _Package(wheel.name, version, project, wheel, generated=True)

    def _requires(self, reach: Reach, project: Path) -> tuple[str, ...]:
        """Distributions that bring what the modules import."""
        foreign = tuple(sorted({*reach.foreign, *reach.optional} - self.inventory.standard))
        asked = take_inventory(self.interpreter, project, foreign)
        found = {RUNNER}
        for module in foreign:
            source = source_of(module, asked, project)
            if source is not None:
                found.add(canonical(source.name))
            elif module in reach.foreign and asked.origins.get(module) is None:
                raise ExportError(
                    f"{reach.foreign[module]} imports {module}, which is not installed in {self.interpreter.path}",
                    f"install the package that brings it, for example: {self.interpreter.path} -m pip install {module}",
                )
        return tuple(sorted(found))

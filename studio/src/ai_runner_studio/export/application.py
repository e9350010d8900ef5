"""Application: the project's own code in an image: the pipeline's package, its entrypoint, who they are."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runner.live.pipelines.spec import PipelineSpec

from ..errors import ExportError, UsageError
from ..interpreter import Interpreter
from .entrypoint import Entrypoint, find_entrypoint, make_entrypoint
from .image_settings import ImageSettings
from .inventory import Installed, Inventory, canonical, take_inventory
from .loose_modules import RUNTIME, Reach, defines, reach_of
from .own_package import OwnSource, build_wheel, source_of
from .plan import LeftOut
from .sources import WHY_CACHE, WHY_POINTER, Source, outside, survey
from .wheel import WheelFile, files_of, read_wheel, write_wheel

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
        build: makes a wheel of another package that is installed from a folder or a wheel file.
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
        built: dict[str, _Package] = {}
        loose: list[str] = []
        for path in filter(None, (run.pipeline_import, run.params_import)):
            module, _, attribute = path.partition(":")
            top = module.partition(".")[0]
            self._check(top, module, attribute)
            source = source_of(top, self.inventory, run.project)
            if isinstance(source, OwnSource):
                package = built.get(source.name) or self._built(source)
                built[source.name] = package
                _check_module(package, module)
            elif isinstance(source, Installed):
                package = _Package(source.name, source.version, run.project, None)
            else:
                loose.append(module)
                continue
            if package.name not in [one.name for one in packages]:
                packages.append(package)
        if loose:
            packages.insert(0, self._generated(loose))
        elif self.settings.include:
            raise UsageError(
                f"include: {packages[0].name} is a package, and its own build decides what is in it",
                "let its pyproject.toml take the files in",
            )
        return packages

    def build_installed(self, installed: Installed) -> WheelFile:
        """A wheel of a package that is installed from a folder, or the wheel file that it is installed from.

        Raises:
            ExportError: that is not there any more, or the package does not build.
        """
        file, folder = installed.local_wheel, installed.local_folder
        place = file or folder
        if place is None or not place.exists():
            raise ExportError(
                f"{installed.name} was installed from {place}, which is not there any more",
                f"install it again from where it is now, or from an index: pip install {installed.name}",
            )
        if file:
            return read_wheel(Path(shutil.copy(file, self.workshop)))
        assert folder is not None
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
        if top == RUNTIME:
            raise ExportError(
                f"module '{module}' has the name of the runtime's own package",
                f"rename {run.project / f'{top}.py'}, for example to effect.py, and --pipeline-import with it",
            )
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

    def _built(self, source: OwnSource) -> _Package:
        kept, left = survey(source.folder)
        wheel = self._wheel(source, kept)
        self._tell_left_out(source.folder, kept, left, files_of(wheel.path))
        return _Package(wheel.name, wheel.version, source.folder, wheel)

    def _tell_left_out(self, folder: Path, kept: list[Source], left: list[LeftOut], packaged: dict[str, bytes]) -> None:
        digests = {hashlib.sha256(data).hexdigest() for data in packaged.values()}
        self.left_out += sorted([*left, *outside(folder, kept, digests)], key=lambda one: one.what)
        for one in left:
            if one.why == WHY_POINTER:
                self.tell(f"warning: {one.what}: {one.why}")

    def _wheel(self, source: OwnSource, kept: list[Source]) -> WheelFile:
        self.tell(f"building {source.name}")
        return build_wheel(source, kept, self.inventory, self.interpreter.path, self.workshop, self.tell)

    def _generated(self, named: list[str]) -> _Package:
        """A package of modules that belong to none, with what they need."""
        project = self.settings.run.project
        modules = tuple(dict.fromkeys(module.partition(".")[0] for module in named))
        for module in modules:
            origin = self.inventory.origins[module]
            if origin is None or origin.parent != project:
                raise ExportError(
                    f"module '{module}' is in {origin}, which is neither in the project {project} nor in a package",
                    "move it into the project, or make it a package: a pyproject.toml with [project]",
                )
        reach = reach_of(modules, project, self.inventory, self.settings.include)
        for file, place in sorted(reach.beside.items()):
            self.tell(
                f"warning: {place} names {file}, which is not in the image; "
                f"open it by a path relative to __file__ (and --include {file} where that is not enough)"
            )
        files = {path: file.read_bytes() for path, file in reach.files.items()}
        digest = hashlib.sha256()
        for path, data in sorted(files.items()):
            digest.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
        name = self.settings.name or _image_name(PipelineSpec(pipeline_cls=self.settings.run.pipeline_import).name)
        # The contents are the version: nobody has given one.
        version = f"0.0.0+{digest.hexdigest()[:12]}"
        wheel = write_wheel(self.workshop, f"{name}-pipeline", version, files, self._requires(reach, project))
        self._tell_left_out(project, *survey(project), files)
        package = _Package(wheel.name, version, project, wheel, generated=True)
        for module in named:
            _check_module(package, module)
        return package

    def _requires(self, reach: Reach, project: Path) -> tuple[str, ...]:
        """Distributions that bring what the modules import."""
        foreign = tuple(sorted({*reach.foreign, *reach.optional} - self.inventory.standard - {RUNTIME}))
        asked = take_inventory(self.interpreter, project, foreign)
        found = {RUNNER}
        for module in foreign:
            source = source_of(module, asked, project)
            if source is not None:
                found.add(canonical(source.name))
            elif module in reach.foreign and asked.origins.get(module) is None:
                raise self._not_installed(module, reach.foreign[module])
        return tuple(sorted(found))

    def _not_installed(self, module: str, place: str) -> ExportError:
        """What is imported and is not in the environment; it may be in a folder of the project."""
        said = f"{place} imports {module}, which is not installed in {self.interpreter.path}"
        kept, _ = survey(self.settings.run.project)
        elsewhere = [one.path for one in kept if f"/{one.path}".endswith((f"/{module}.py", f"/{module}/__init__.py"))]
        if elsewhere:
            return ExportError(
                f"{said}; {elsewhere[0]} is in the project, in a folder that the image does not have on sys.path",
                "put the folder on sys.path by a path relative to __file__, or move the module next to the pipeline's",
            )
        install = f"{self.interpreter.path} -m pip install {module}"
        return ExportError(said, f"install the package that brings it, for example: {install}")


def _check_module(package: _Package, module: str) -> None:
    """Refuse a package without a module that the image serves, an empty one in particular."""
    assert package.wheel is not None
    inside = module.replace(".", "/")
    if not {f"{inside}.py", f"{inside}/__init__.py"} & files_of(package.wheel.path).keys():
        raise ExportError(
            f"the package {package.name} of {package.folder} is built without the module {module}",
            "its folder may be a link out of the project, or pyproject.toml (packages, include) may leave it out",
        )

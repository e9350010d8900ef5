"""ImageExport: from a written context to an image that was built, tried, and pushed, with the papers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, UsageError, VerificationFailed
from .build import BuiltImage, ImageBuild, alone, check_tag
from .build_progress import BuildProgress
from .build_secrets import build_secrets
from .engine import BuildRequest, Engine
from .engines import find_builder, find_runtime
from .killed_runs import remove_killed_runs
from .run_record import own_record, records_folder
from .target import is_for_this_machine
from .verification import Verification, cause_of

if TYPE_CHECKING:
    from .local_run import LocalRun, Trial
    from .plan import ImagePlan, Platform
    from .runtime import Runtime

PATTERN = "pattern:512x512@24"
SECONDS = 12.0  # of the stream; the runner tells each 10 s which params are in force
BUILD_LOG, VERIFICATION, BILL, LICENCES = "build.log", "verification.json", "sbom.cdx.json", "licences.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How an image is built and tried.

    Attributes:
        builder: docker, podman or buildah; None for the first that can be used.
        tags: names of the image; none: its plan's own one.
        build_args, builder_args: given to the builder, the latter as they are.
        store: folder of an image store of its own, None for the user's.
        verify: None: where containers can be run.
        source: that is streamed, as a source of the runner. seconds: of it.
        models: folder that is mounted for the models.
        report: folder for log, report and lists; None for one in the user's state folder.
    """

    builder: str | None = None
    tags: tuple[str, ...] = ()
    push: bool = False
    no_cache: bool = False
    build_args: tuple[str, ...] = ()
    builder_args: tuple[str, ...] = ()
    store: Path | None = None
    verify: bool | None = None
    source: str = PATTERN
    seconds: float = SECONDS
    models: Path | None = None
    report: Path | None = None

    def checked(self) -> ExportOptions:
        """The same, if it can be meant.

        Raises:
            UsageError: it cannot.
        """
        for tag in self.tags:
            check_tag(tag)
        for argument in self.build_args:
            if "=" not in argument:
                raise UsageError(f"--build-arg '{argument}' gives no value", "write it as NAME=VALUE")
        if self.push and not self.tags:
            raise UsageError("--push needs to know where to", "name the image with its registry by --tag")
        if self.models is not None and not self.models.is_dir():
            raise UsageError(f"--models {self.models} is not a folder", "name the folder that holds the models")
        return self


@dataclass(frozen=True, slots=True)
class Engines:
    """What builds, and what runs what was built; `why_not`: why nothing does."""

    builder: Engine
    runtime: Runtime | None
    why_not: str = ""


async def find_engines(options: ExportOptions, target_platform: Platform) -> Engines:
    """Look for both before anything is planned.

    Raises:
        EngineError: nothing builds, or nothing runs although a verification was asked for.
        UsageError: no such builder.
    """
    builder = await find_builder(options.builder, options.store)
    if options.verify is False:
        return Engines(builder, None, "--no-verify")
    if not is_for_this_machine(target_platform):
        why_not = f"it is for {target_platform}, and this machine is {platform.machine()}"
    else:
        try:
            return Engines(builder, await find_runtime(builder, options.store))
        except EngineError as error:
            why_not = str(error)
    if options.verify:
        raise EngineError(f"the image could not be verified here: {why_not}", "--no-verify builds it all the same")
    return Engines(builder, None, why_not)


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of it. `verification`: None where there was none; `why_not` says why."""

    built: BuiltImage
    report: Path
    verification: Verification | None
    why_not: str = ""

    def to_json(self) -> str:
        """As one document."""
        verification = json.loads(self.verification.to_json()) if self.verification else None
        found = {**asdict(self.built), "report": str(self.report), "verification": verification}
        return json.dumps(found | {"not_verified": self.why_not or None}, indent=2)


class ImageExport:
    """Builds, verifies and pushes one planned image."""

    def __init__(
        self,
        plan: ImagePlan,
        context: Path,
        engines: Engines,
        options: ExportOptions,
        *,
        python: str,
        project: Path,
        params: dict[str, Any],
        show: Callable[[str, BuildProgress | None], None] = lambda _doing, _progress: None,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Does nothing yet.

        Args:
            context: folder with the plan's build context.
            python, project: interpreter and folder that the pipeline runs with on this machine.
            params: initial ones, for both runs.
            show: is told what is done, with the builder's progress while it builds.
            warn: is told what the user should know before the image is built.
        """
        self._plan = plan
        self._context = context
        self._engines = engines
        self._options = options
        self._python = python
        self._project = project
        self._params = params
        self._show = show
        self._warn = warn
        self.report = options.report or default_report(plan)

    async def run(self) -> Exported:
        """All of it.

        Raises:
            BuildError: it was not built, or not pushed. EngineError: an engine refuses something.
            ExportError: the pipeline does not run on this machine. VerificationFailed: it was built, and fails.
        """
        await self._remove_killed()
        trial, here = await self._try_here() if self._engines.runtime is not None else (None, None)
        with contextlib.ExitStack() as stack:
            given: tuple[str, ...] = ()
            if not self._plan.offline:
                opened = build_secrets(self._python, self._project, os.environ)
                given = await asyncio.to_thread(stack.enter_context, opened)
            build = self._build(given)
            built = await build.run()
        verification = await self._verify(built, trial, here) if trial and here else None
        if verification is not None and not verification.ok:
            raise self._failure(verification)
        if self._options.push:
            self._show("pushing", None)
            await build.push()
        return Exported(built, self.report, verification, self._engines.why_not)

    async def _remove_killed(self) -> None:
        """Remove what killed exports have left in these engines; from now on, the record names them for the next."""
        builder, runtime = self._engines.builder, self._engines.runtime
        async with alone(builder.lock_file):
            if await remove_killed_runs(builder, runtime, records_folder()):
                self._show("removed what an export that was killed had left", None)
        engines = [engine for engine in (builder, runtime) if engine is not None]
        own_record().note(engines=tuple(tuple(engine.program) for engine in engines))

    def _build(self, secrets: tuple[str, ...]) -> ImageBuild:
        plan, options = self._plan, self._options
        request = BuildRequest(
            context=self._context,
            platform=None if is_for_this_machine(plan.platform) else plan.platform,
            no_cache=options.no_cache,
            build_args=options.build_args,
            engine_args=(*secrets, *options.builder_args),
            local_base=self._base.startswith("localhost/"),
            network=not plan.offline or bool(plan.system_packages or plan.dockerfile_lines),
        )
        self.report.mkdir(parents=True, exist_ok=True)
        log = self.report / BUILD_LOG
        log.unlink(missing_ok=True)
        tags = options.tags or (plan.tag,)
        return ImageBuild(self._engines.builder, request, tags, log, lambda progress: self._show("", progress))

    @property
    def _base(self) -> str:
        """The base image, as the builder is told it."""
        given = [text.partition("=")[2] for text in self._options.build_args if text.startswith("BASE_IMAGE=")]
        return given[-1] if given else self._plan.base

    async def _try_here(self) -> tuple[Trial, LocalRun]:
        """Run the pipeline on this machine: what fails or is missing shows before the image is built."""
        from .local_run import Trial, find_change, run_here
        from .observation import missing_files, warning_of

        plan = self._plan
        names = plan.pipeline_import, plan.params_import
        self._show("running the pipeline on this machine, to compare with", None)
        change = await find_change(self._python, self._project, *names, self._params)
        trial = Trial(
            model_id=plan.model_id,
            source=self._options.source,
            seconds=self._options.seconds,
            params=self._params,
            change=change,
        )
        here = await run_here(self._python, self._project, *names, trial, self._options.models)
        packaged = not any(own.generated for own in plan.own if own.role == "pipeline")
        for missing in missing_files(here.opened, plan.left_out):
            self._warn(warning_of(missing, packaged))
        return trial, here

    async def _verify(self, built: BuiltImage, trial: Trial, here: LocalRun) -> Verification:
        from .verify import Subject, Verify, gpu_of_this_machine

        plan, runtime = self._plan, self._engines.runtime
        assert runtime is not None
        subject = Subject(
            image=built.id,
            tags=built.tags,
            models=self._options.models,
            models_dir=plan.models_dir,
            gpu=gpu_of_this_machine() if plan.torch.needs_gpu else None,
        )
        verified = await Verify(runtime, subject, trial, here, lambda doing: self._show(doing, None)).run()
        texts = {
            VERIFICATION: verified.verification.to_json(),
            BILL: verified.materials.cyclonedx(plan.name, plan.version, built.id, plan.pins),
            LICENCES: verified.materials.licences(),
        }
        for name, text in texts.items():
            _write(self.report / name, text)
        return verified.verification

    def _failure(self, verification: Verification) -> VerificationFailed:
        said = "; ".join(f"{check.name}: {check.said}" for check in verification.failed)
        cause = cause_of(verification.log) or "nothing"
        return VerificationFailed(
            f"the image {verification.tags[0]} was built, but does not pass: {said}",
            hint=f"the container's log says: {cause}; the whole report is {self.report / VERIFICATION}",
        )


def default_report(plan: ImagePlan) -> Path:
    """Where log, report and lists of an image go when nobody names a folder."""
    from platformdirs import user_state_path

    name = f"{plan.name}-{plan.tag.rpartition(':')[2]}"
    return user_state_path("ai-runner-studio", appauthor=False) / "images" / name


def _write(path: Path, text: str) -> None:
    """So that it is there whole, or as it was."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)

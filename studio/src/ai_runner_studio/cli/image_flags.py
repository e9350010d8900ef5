"""The flags of ``export-image``. What none of them says is decided by `export.image_settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .flags import CommandFlags, ParamsFile, Project, Python

_PLATFORMS = ("linux/amd64", "linux/arm64")
_BUILDERS = ("docker", "podman", "buildah")
# Not settings of the image, but of this call.
_CALL = ("plan", "json", "schema", "output")
# How it is built and tried; any of them but the last asks for a build.
_BUILD = ("builder", "tag", "push", "no-cache", "build-arg", "builder-arg", "image-store", "verify")
_TRIAL = ("verify-input", "verify-seconds", "models", "report")
# As every other command has them.
SHARED = ("pipeline-import", "params-import", "param", "params-file", "python", "project", "verbose")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFlags(CommandFlags):
    """What the export takes."""

    pipeline_import: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="Pipeline that the image serves.")
    ] = None
    params_import: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="Its params class, where it has one of its own.")
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="Initial param of an entrypoint that is made."),
    ] = None
    params_file: ParamsFile = None
    python: Python = None
    project: Project = None
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write the build context into this folder.")
    ] = None
    plan: Annotated[bool | None, typer.Option("--plan", help="Print what the image would be, and write nothing.")] = (
        None
    )
    json: Annotated[
        bool | None, typer.Option("--json", help="Print the plan, or what came of a build, as one JSON document.")
    ] = None
    schema: Annotated[bool | None, typer.Option("--schema", help="Print the JSON schema of a plan, and exit.")] = None
    offline: Annotated[
        bool | None, typer.Option("--offline", help="Put all wheels into the context: it builds without a network.")
    ] = None
    torch: Annotated[
        str | None,
        typer.Option(metavar="cpu|cu130|...|none", help="Build of torch; none: the base image brings it."),
    ] = None
    base: Annotated[str | None, typer.Option(metavar="IMAGE", help="Base image with a Python; Debian by default.")] = (
        None
    )
    python_version: Annotated[
        str | None, typer.Option(metavar="3.N", help="Python of the image, if not that of the project.")
    ] = None
    platform: Annotated[
        str | None,
        typer.Option(metavar="|".join(_PLATFORMS), help="What the image is for.", autocompletion=lambda: _PLATFORMS),
    ] = None
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="File or folder to take too, for a project without a package. Repeatable."),
    ] = None
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the image.")] = None
    model_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The network's name of the pipeline, for an entrypoint that is made."),
    ] = None
    entrypoint: Annotated[
        str | None, typer.Option(metavar="SCRIPT", help="Console script to start, where several serve the pipeline.")
    ] = None
    dockerfile_append: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More Dockerfile lines (RUN, ENV, LABEL), run as root.")
    ] = None
    build: Annotated[
        bool | None,
        typer.Option(
            "--build/--no-build", help="Build the image; so it is unless --output, --emit or --plan are all there is."
        ),
    ] = None
    builder: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(_BUILDERS),
            help="What builds; by default the first of them that can.",
            autocompletion=lambda: _BUILDERS,
        ),
    ] = None
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="NAME", help="Name of the built image. Repeatable.")
    ] = None
    push: Annotated[bool | None, typer.Option("--push", help="Push it once it is verified.")] = None
    no_cache: Annotated[bool | None, typer.Option("--no-cache", help="Do every step again.")] = None
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the Dockerfile, e.g. BASE_IMAGE. Repeatable.")
    ] = None
    builder_arg: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="For the build command, as it is. Repeatable.")
    ] = None
    image_store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep images there, apart from all others (podman, buildah).")
    ] = None
    verify: Annotated[
        bool | None,
        typer.Option("--verify/--no-verify", help="Run the image as an orchestrator does; so it is where that can be."),
    ] = None
    verify_input: Annotated[
        str | None, typer.Option(metavar="INPUT", help="What is streamed then: a file, a sample's name, a pattern.")
    ] = None
    verify_seconds: Annotated[float | None, typer.Option(metavar="SECONDS", help="How much of it (12).")] = None
    models: Annotated[Path | None, typer.Option(metavar="DIR", help="Models that are mounted then, read-only.")] = None
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where log, verification.json, SBOM and licences go.")
    ] = None
    verbose: Annotated[bool | None, typer.Option("--verbose", "-v", help="Tracebacks of unexpected errors.")] = None

    def shared(self) -> dict[str, Any]:
        """Those given that every command has."""
        return {name: value for name, value in self.given().items() if name in SHARED}

    def image(self) -> dict[str, Any]:
        """Those given that are the image's."""
        return {
            name: value
            for name, value in self.given().items()
            if name not in (*SHARED, *_CALL, *_BUILD, *_TRIAL, "build")
        }

    @property
    def builds(self) -> bool:
        """Whether an image is to be built, or only to be planned."""
        if self.plan or self.build is not None:
            return bool(self.build and not self.plan)
        given = self.given()
        asks_for_less = given.keys() & {"json", "output", "emit"}
        return any(given.get(name) is not None for name in _BUILD) or not asks_for_less

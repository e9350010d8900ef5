"""Shipping: the files of ``--emit`` on their way from the plan to their folder, or to the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import typer

from ..errors import UsageError
from ..export.emit import Manifest, Shipment, Terms, emit, write
from ..export.image_settings import ImageSettings, default_base
from ..export.plan import ImagePlan, Installer, TorchBuild


class Shipping:
    """What `--emit` asks for; made before anything else is written, and handed out when all the rest is there."""

    def __init__(self, terms: Terms, folder: Path | None) -> None:
        """`folder`: where the files go; None: they are printed."""
        self._terms = terms
        self._folder = None if folder is None else Path.cwd() / folder
        self._manifests: list[Manifest] = []
        self._local_name = ""

    def check(self, settings: ImageSettings) -> None:
        """Before the work begins: make the files of a plan that is not known yet, and throw them away.

        Raises:
            UsageError: a setting or a package that the files need is missing, or nothing can be written to the folder.
        """
        self._check_folder()
        emit(Shipment(_sketch(settings), self._terms))

    def _check_folder(self) -> None:
        if self._folder is None:
            return
        there = next(place for place in (self._folder, *self._folder.parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"--emit-to {self._folder}: nothing can be written to {there}", "name another folder")

    def make(self, plan: ImagePlan) -> None:
        """Make and check all files.

        Raises:
            StudioError: one cannot be made.
        """
        self._manifests = emit(Shipment(plan, self._terms))
        self._local_name = "" if self._terms.image else plan.tag

    def hand_out(self, tell: Callable[[str], None]) -> None:
        """Write or print them, and tell what their user has to know.

        Raises:
            ExportError: they cannot be written.
        """
        if self._folder:
            for place in write(self._manifests, self._folder):
                tell(f"written: {place}")
        else:
            self._print()
        for manifest in self._manifests:
            for note in manifest.notes:
                tell(f"{manifest.name}: {note}")
        if self._local_name:
            tell(f"{self._local_name} is a local name of the image: --image REF names where it is pulled from")

    def _print(self) -> None:
        for manifest in self._manifests:
            if len(self._manifests) > 1:
                typer.echo(f"==> {manifest.name} <==")
            typer.echo(manifest.text, nl=False)


def _sketch(settings: ImageSettings) -> ImagePlan:
    """A plan with what the settings say, and stand-ins for what only planning finds out."""
    run, python = settings.run, settings.python_version or "3.11"
    return ImagePlan(
        name=settings.name or "pipeline",
        version="0",
        model_id=settings.model_id or "pipeline",
        pipeline_import=run.pipeline_import,
        params_import=run.params_import,
        command=("pipeline-runner",),
        base=settings.base or default_base(python),
        python=python,
        platform=settings.platform,
        torch=TorchBuild(flavour="none"),
        layers=(),
        own=(),
        installer=Installer(version="0", sha256="0" * 64),
        environment=settings.environment,
        labels=settings.labels,
    )

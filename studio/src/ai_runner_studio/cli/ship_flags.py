"""The flags of ``export-image --emit``: files that have an engine run the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .image_flags import ImageFlags

if TYPE_CHECKING:
    from ..export.emit import Terms

_KINDS = ("kubernetes", "compose", "aimodels", "runners")  # of export.emit, which loads pydantic
_HOW = ("emit-to", "image-reference", "replicas", "gpus", "models-volume", "runner-url")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipFlags(ImageFlags):
    """What the export takes, with how the image is to be run."""

    emit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_KINDS),
            help="Make checked files that have the image run. Repeatable.",
            autocompletion=lambda: _KINDS,
        ),
    ] = None
    emit_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the files of --emit; else they are printed.")
    ] = None
    image_reference: Annotated[
        str | None, typer.Option("--image", metavar="REF", help="For --emit: where it is pulled from; else --tag.")
    ] = None
    replicas: Annotated[int | None, typer.Option(metavar="N", help="For --emit: runners, one a stream.")] = None
    gpus: Annotated[
        int | None, typer.Option(metavar="N", help="For --emit: GPUs of each runner; 1 if torch is built for CUDA.")
    ] = None
    models_volume: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|DIR|none",
            help="For --emit: weights in a volume of a size (50Gi), a host's folder, or none.",
        ),
    ] = None
    runner_url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="For --emit: by which an orchestrator reaches each runner. Repeatable."),
    ] = None

    def image(self) -> dict[str, Any]:
        """Those given that are the image's."""
        return {name: value for name, value in ImageFlags.image(self).items() if name not in ("emit", *_HOW)}

    def terms(self, environ: Mapping[str, str]) -> Terms | None:
        """How the image is to be run; None: no file is asked for.

        Raises:
            UsageError: a flag cannot be, or says how to run what no --emit names.
        """
        from ..errors import UsageError
        from ..export.emit import Terms

        given = self.given()
        if "emit" not in given:
            if alone := [name for name in _HOW if name in given]:
                flag = "image" if alone[0] == "image-reference" else alone[0]
                raise UsageError(f"--{flag} is for --emit, which is not given", f"--emit {'|'.join(_KINDS)}")
            return None
        if "emit-to" not in given and (self.plan or self.json):
            raise UsageError(
                "the plan and the files of --emit cannot both be printed", "--emit-to DIR writes the files"
            )
        names = {"image-reference": "image", "replicas": "replicas", "gpus": "gpus", "models-volume": "models"}
        values = {names[name]: given[name] for name in names if name in given}
        if self.tag:
            values.setdefault("image", self.tag[0])
        return Terms(
            kinds=tuple(given["emit"]), runner_urls=tuple(given.get("runner-url", ())), environ=environ, **values
        )

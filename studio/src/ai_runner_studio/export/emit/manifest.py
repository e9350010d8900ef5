"""Manifest: one file that tells an engine how to run an image; how it is made text, and written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ExportError, UsageError
from ...interruption import uninterrupted


class ManifestError(ExportError):
    """A file that was made did not pass its check, or could not be written."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked file.

    Attributes:
        name: of the file. text: all of it, with a line end at the end.
        notes: what whoever uses it has to know, a sentence each.
    """

    name: str
    text: str
    notes: tuple[str, ...] = ()


def yaml_text(heading: str, *documents: dict[str, Any]) -> str:
    """The documents in the order of their keys as given, below the heading as a comment."""
    import yaml

    comment = "".join(f"# {line}".rstrip() + "\n" for line in heading.strip().splitlines())
    return comment + "---\n".join(
        yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120) for document in documents
    )


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def needs(kind: str, package: str, error: ImportError) -> UsageError:
    """What is said where the package that writes or checks files of a kind is not installed."""
    missing = UsageError(
        f"--emit {kind} needs {package}, which is not installed: a file that is not checked is not written",
        "pip install 'ai-runner-studio[ship]'",
    )
    missing.__cause__ = error
    return missing


@uninterrupted()
def write(manifests: list[Manifest], folder: Path) -> list[Path]:
    """Write all of them into the folder, which is made; files of these names are replaced, others stay.

    Each is written beside its place first: where one cannot be, no file has changed.

    Raises:
        ManifestError: the folder or a file cannot be written.
    """
    written: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for manifest in manifests:
            place = folder / manifest.name
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{place.name} is a folder")
            written.append((_beside(place, manifest.text), place))
        for temporary, place in written:
            os.replace(temporary, place)
    except OSError as error:
        raise ManifestError(
            f"the files cannot be written to {folder}: {error.strerror or error}",
            "name another folder with --emit-to",
        ) from error
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)  # most often it is in its place
    return [place for _, place in written]


def _beside(place: Path, text: str) -> Path:
    """A finished file next to `place`."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary

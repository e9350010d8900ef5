"""Samples: videos and pipelines that an installed package brings along, found without importing it.

A package declares them as entry points: in the group ``ai_runner_studio.samples`` a package whose folder
holds videos, in the group ``ai_runner_studio.pipelines`` the import path of a pipeline under its name.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

VIDEO_GROUP = "ai_runner_studio.samples"
PIPELINE_GROUP = "ai_runner_studio.pipelines"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")


@dataclass(frozen=True, slots=True)
class SampleVideo:
    """A video under a short name (its file's stem)."""

    name: str
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SamplePipeline:
    """A pipeline to start from: what to give as ``--pipeline-import``, and its source file."""

    name: str
    pipeline_import: str
    path: Path | None


def sample_videos() -> list[SampleVideo]:
    """All bundled videos by name; the first package that has a name wins."""
    found: dict[str, SampleVideo] = {}
    for point in entry_points(group=VIDEO_GROUP):
        for folder in _folders(point.value.partition(":")[0]):
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                    found.setdefault(path.stem, SampleVideo(path.stem, path, path.stat().st_size))
    return sorted(found.values(), key=lambda video: video.name)


def sample_pipelines() -> list[SamplePipeline]:
    """All bundled pipelines by name."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=PIPELINE_GROUP):
        points.setdefault(point.name, point)
    return [
        SamplePipeline(name, point.value, _module_file(point.value.partition(":")[0]))
        for name, point in sorted(points.items())
    ]


def default_input() -> str:
    """What to show when nothing is named: the first sample, else the test pattern."""
    videos = sample_videos()
    return videos[0].name if videos else "pattern"


def _folders(module: str) -> Iterator[Path]:
    """Folders of a package, found through its outermost parent, the only one that is looked up."""
    parent, *inner = module.split(".")
    spec = importlib.util.find_spec(parent)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location, *inner)
        if folder.is_dir():
            yield folder


def _module_file(module: str) -> Path | None:
    package, _, name = module.rpartition(".")
    for folder in _folders(package or module):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return Path(os.path.abspath(path))
    return None

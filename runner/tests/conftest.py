"""What the tests of the runner share: throw-away pipelines on disk, raw frames, and a look at what is left behind."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from runner.live.trickle import RawFrame

WriteModule = Callable[[str, str], Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project folder that is the working directory and on the import path."""
    folder = tmp_path / "project"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def write(project: Path) -> WriteModule:
    """Write a module of the project: ``write("package.module", source)``."""

    def write_module(name: str, source: str) -> Path:
        path = project.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write_module


def raw_frame(seq: int, width: int = 512, height: int = 512, fps: int = 30) -> RawFrame:
    """Frame number `seq` of a stream: its number is in every pixel."""
    pixels = np.full((height, width, 3), seq % 256, np.uint8)
    return RawFrame(pixels, seq, Fraction(1, fps), seq, {"captured": time.monotonic_ns()})


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail if the test leaves a process or a shared-memory segment of its own behind."""
    segments_before = segments()
    _others.clear()
    _others.update(psutil.Process().children(recursive=True))  # of fixtures that other tests share
    yield
    deadline = time.monotonic() + 60
    while (left := children() or held_since(segments_before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


_others: set[psutil.Process] = set()


def children() -> list[str]:
    """Processes that the test has started and that are alive, but for multiprocessing's own resource tracker."""
    alive = []
    for child in set(psutil.Process().children(recursive=True)) - _others:
        try:
            command = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in command:
                alive.append(f"{child.pid} {command}")
        except psutil.NoSuchProcess:
            continue
    return alive


def held_since(before: set[str]) -> list[str]:
    """Segments that were not there before and that nobody has let go of."""
    if segments() - before:
        gc.collect()  # views of a ring keep its memory until they go
    return sorted(segments() - before)


def segments() -> set[str]:
    """Shared memory that has a name in the temporary folder, or is held open by this process."""
    named = {str(path) for path in Path(tempfile.gettempdir()).glob("ai-runner-segment-*")}
    held = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if "ai-runner-segment" in target:
            held.add(f"{descriptor} {target}")
    return named | held

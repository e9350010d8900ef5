"""A small project on disk whose modules are imported for real, edited, and patched."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from runner.live import report
from runner.live.code.observation import Observation
from runner.live.code.patch import CodePatch
from runner.live.code.plan import plan_patch
from runner.live.code.refusal import PatchRefused
from runner.live.code.source import Sources

REPOSITORY = str(Path(__file__).parents[4])


class Live:
    """The project as it runs in this process."""

    def __init__(self, folder: Path, sources: Sources) -> None:
        self.folder = folder
        self.sources = sources

    def write(self, source: str, name: str = "effects") -> Path:
        """Write a module; nothing is imported or patched by it."""
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        return path

    def load(self, source: str | None = None, name: str = "effects") -> Any:
        """The module, imported from that source."""
        if source is not None:
            self.write(source, name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def load_pipeline(self, source: str | None = None, name: str = "effects", entry: str = "Pipe") -> Any:
        """A pipeline that is loaded as in a pipeline process, so that it is known what ran meanwhile."""
        with self.sources.tracing_load():
            pipe = getattr(self.load(source, name), entry)
            return pipe() if isinstance(pipe, type) else pipe

    def plan(self, pipeline: object = None, **how: Any) -> CodePatch:
        return plan_patch(self.sources, pipeline, **how)

    def apply(self, pipeline: object = None, **how: Any) -> CodePatch:
        """Put in what is on disk now, proven or not."""
        patch = self.plan(pipeline, **how)
        asyncio.run(patch.exchange())
        return patch

    def edit(self, source: str, pipeline: object = None, name: str = "effects", **how: Any) -> CodePatch:
        """Save a module and put it in."""
        self.write(source, name)
        return self.apply(pipeline, **how)

    def observe(self, patch: CodePatch, frame: Callable[[], object], *, params_kept: bool = True) -> str:
        """Run frames until the patch is proven or refuted; the reason, or "" if it is proven."""
        watch = Observation(patch.marks, params_kept=lambda: params_kept)
        verdict, pts = "proven" if not patch.marks else "open", 0
        while verdict == "open":
            pts += 1
            watch.fed(pts)
            try:
                frame()
            except Exception:
                patch.undo()
                patch.release()
                raise
            verdict = watch.output(pts)
        if verdict == "refuted":
            patch.undo()
        else:
            patch.settle()
        patch.release()
        return watch.reason

    def save(self, pipeline: object, frame: Callable[[], object], *, params_kept: bool = True) -> str:
        """What becomes of what is on disk now: "" if it stays in place, else why a fresh process is needed."""
        try:
            patch = self.plan(pipeline)
            asyncio.run(patch.exchange())
        except PatchRefused as refused:
            return refused.reason
        return self.observe(patch, frame, params_kept=params_kept)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    folder = tmp_path / "project"
    folder.mkdir()
    # Else all tests that this process has imported were part of the project: each plan took a second.
    monkeypatch.setattr(report, "_NOT_THE_USERS", (*report._NOT_THE_USERS, REPOSITORY))
    before: dict[str, ModuleType] = dict(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    sources = Sources.install()
    yield Live(folder, sources)
    sources.uninstall()
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]

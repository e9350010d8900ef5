"""ImageJob: one export in two steps, a plan to look at and the build of it; what a screen drives."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..interpreter import check_interpreter, find_interpreter
from ..settings import Settings
from ..settings_load import gather
from .context import write_context
from .image_export import Exported, ExportOptions, ImageExport, find_engines
from .image_settings import image_settings
from .planner import make_plan
from .private_places import scan_of_machine
from .summary import summary

if TYPE_CHECKING:
    from ..interpreter import Interpreter
    from .build_progress import BuildProgress
    from .image_settings import ImageSettings
    from .planner import Draft


class ImageJob:
    """The export of the pipeline that a session runs, with the settings of its pyproject.toml."""

    def __init__(self, run: Settings, tell: Callable[[str], None]) -> None:
        """`tell`: is told what is done, from any thread."""
        self._run = run
        self._tell = tell
        self._workshop = tempfile.TemporaryDirectory(prefix="ai-runner-export-")
        self._working: asyncio.Task[Draft] | None = None
        self._settings: ImageSettings
        self._interpreter: Interpreter

    async def plan(self) -> str:
        """Plan; the plan in words.

        Raises:
            StudioError: the project cannot be made into an image.
        """
        # Shielded: a thread cannot be stopped, and its folder must stay until it is done.
        self._working = asyncio.create_task(asyncio.to_thread(self._make_plan))
        draft = await asyncio.shield(self._working)
        return summary(draft.plan)

    async def build(self, show: Callable[[str, BuildProgress | None], None]) -> Exported:
        """Build what was planned, and verify it where that can be.

        Raises:
            StudioError: it was not built, or does not pass.
        """
        assert self._working is not None
        draft = self._working.result()
        engines = await find_engines(ExportOptions(), draft.plan.platform)
        context = Path(self._workshop.name) / "context"
        scan = await asyncio.to_thread(
            scan_of_machine, self._interpreter, self._run.project, Path(self._workshop.name), self._settings.allow
        )
        await asyncio.to_thread(write_context, draft, context, scan, self._tell)
        export = ImageExport(
            draft.plan,
            context,
            engines,
            ExportOptions(),
            python=self._interpreter.path,
            project=self._run.project,
            params=self._run.params,
            show=show,
            warn=self._tell,
        )
        return await export.run()

    async def close(self) -> None:
        """Remove what was made on the way, once nothing works on it any more."""
        if self._working is not None:
            await asyncio.wait([self._working])
        await asyncio.to_thread(self._workshop.cleanup)

    def _make_plan(self) -> Draft:
        run = self._run
        named = {
            "pipeline-import": run.pipeline_import,
            "params-import": run.params_import,
            "project": str(run.project),
            "python": run.python,
        }
        given = gather(named, os.environ, run.project)
        self._settings = image_settings(given, {}, os.environ)
        self._interpreter = check_interpreter(
            find_interpreter(run.python, run.project, run.python_configured), run.project
        )
        return make_plan(self._settings, self._interpreter, Path(self._workshop.name), None, self._tell)

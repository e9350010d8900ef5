"""The export screen: the plan of the production image first, then its build and what the image was seen to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import ProgressBar, Static

from ...errors import StudioError
from ..widgets.line import SplitLine

if TYPE_CHECKING:
    from ...export.build_progress import BuildProgress
    from ...export.image_export import Exported
    from ...export.image_job import ImageJob
    from ...session import Session

Stage = Literal["planning", "planned", "building", "done", "failed"]
_TITLES: dict[Stage, str] = {
    "planning": "Planning the production image",
    "planned": "The production image, as planned",
    "building": "Building the production image",
    "done": "The production image is built",
    "failed": "The production image was not made",
}
_HINTS: dict[Stage, tuple[tuple[str, str], ...]] = {
    "planning": (("esc", "cancels"),),
    "planned": (("enter", "builds and verifies it"), ("↑ ↓", "scroll"), ("esc", "closes")),
    "building": (("esc", "ends the build; no image is left"),),
    "done": (("↑ ↓", "scroll"), ("esc", "closes")),
    "failed": (("esc", "closes"),),
}


class ExportImage(ModalScreen[None]):
    """Plans as it opens, builds when asked to; leaving it ends whatever runs.

    Attributes:
        stage: how far it has come.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close"),
        Binding("enter", "build", "Build"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.stage: Stage = "planning"
        self._session = session
        self._job: ImageJob | None = None
        self._loop: asyncio.AbstractEventLoop
        self._bar = ProgressBar(show_eta=False, id="export-bar")
        self._doing = Static(id="export-doing")
        self._text = Static(id="export-text", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="export-image"):
            yield Static(classes="dialog-title", id="export-title")
            with VerticalScroll(id="export-body"):
                yield self._text
            yield self._bar
            yield self._doing
            yield SplitLine(id="export-hint")

    def on_mount(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._enter("planning")
        self._plan()

    def action_build(self) -> None:
        """Build what is planned."""
        if self.stage == "planned":
            self._enter("building")
            self._build()

    @work(exclusive=True)
    async def _plan(self) -> None:
        self._job = job = self._session.image_job(self._tell)
        try:
            text = await job.plan()
        except StudioError as error:
            self._fail(error)
            await job.close()
        except asyncio.CancelledError:
            await asyncio.shield(job.close())
            raise
        else:
            self._text.update(text)
            self._enter("planned")

    @work(exclusive=True)
    async def _build(self) -> None:
        job = self._job
        assert job is not None
        try:
            exported = await job.build(self._show)
        except StudioError as error:
            self._fail(error)
        else:
            self._text.update(_result(exported))
            self._enter("done")
        finally:
            self._job = None
            await asyncio.shield(job.close())

    async def on_unmount(self) -> None:
        if self._job is not None and self.stage == "planned":
            await self._job.close()

    def _tell(self, text: str) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._say, text)

    def _show(self, doing: str, progress: BuildProgress | None) -> None:
        if progress is not None:
            doing = f"step {progress.step} of {progress.steps}: {progress.doing}"
            self._bar.update(total=progress.steps, progress=progress.step)
        else:
            self._bar.update(total=None)
        self._say(doing)

    def _say(self, text: str) -> None:
        if self.is_mounted:
            self._doing.update(Content.styled(text, "$foreground 60%"))

    def _fail(self, error: StudioError) -> None:
        said = Content.styled(str(error), "$text-error")
        self._text.update(Content("\n\n").join([said, Content(error.hint)]) if error.hint else said)
        self._enter("failed")

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.query_one("#export-title", Static).update(_TITLES[stage])
        keys = Content("  ").join(Content.assemble((key, "bold"), f" {does}") for key, does in _HINTS[stage])
        self.query_one("#export-hint", SplitLine).set(keys.stylize("$foreground 60%"), Content(""))
        working = stage in ("planning", "building")
        self._bar.display = self._doing.display = working
        self.query_one("#export-image").set_class(stage == "planning", "-planning")
        self.query_one("#export-body").focus()


def _result(exported: Exported) -> str:
    """What came of it, in columns."""
    built = exported.built
    lines = [f"{', '.join(built.tags)}, built by {built.engine} in {built.duration_s:.0f} s", ""]
    if exported.verification is not None:
        lines.append(exported.verification.table())
    else:
        lines.append(f"Not verified: {exported.why_not}")
    return "\n".join([*lines, "", f"Log and reports: {exported.report}"])

"""The differences screen: what one revision of the code has that another, or the disk, has not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from ...errors import StudioError
from .. import figures
from ..last_good import good_before
from ..widgets.diff_view import DiffView, without_names
from ..widgets.line import SplitLine

if TYPE_CHECKING:
    from ...reload.revisions import FileDifference
    from ...session import Session

Against = Literal["before", "disk"]
_MARKS = {"added": ("+", "$text-success"), "removed": ("−", "$text-error"), "changed": ("~", "$text-warning")}


class Differences(ModalScreen[int | None]):
    """A list of files and the diff of one of them; dismissed with the revision to go back to, or None.

    Attributes:
        revision: what is looked at. against: the good revision before it, or the disk.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d", "dismiss", "Close"),
        Binding("n", "file(1)", "Next file"),
        Binding("p", "file(-1)", "Previous file"),
        Binding("tab", "turn", "Against"),
        Binding("b", "go_back", "Go back"),
        Binding("c", "copy", "Copy"),
    ]
    AUTO_FOCUS = "#diff"

    def __init__(self, session: Session, revision: int, against: Against, *, or_before: bool = False) -> None:
        """`or_before`: where the disk has nothing else, begin with the revision before."""
        super().__init__()
        self.revision = revision
        self.against: Against = against
        self._or_before = or_before
        self._session = session
        self._files: list[FileDifference] = []
        self._list = OptionList(id="diff-files", compact=True)
        self._list.can_focus = False
        self._diff = DiffView()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="differences"):
            yield SplitLine(id="diff-title")
            yield self._list
            yield Static(id="diff-nothing")
            yield self._diff
            yield SplitLine(id="diff-hint")

    def on_mount(self) -> None:
        self._show()

    def action_turn(self) -> None:
        """From the revision before to the disk, and back."""
        self.against = "before" if self.against == "disk" else "disk"
        self._show()

    def action_file(self, step: int) -> None:
        if self._files:
            self._list.highlighted = max(0, min(len(self._files) - 1, (self._list.highlighted or 0) + step))

    def action_copy(self) -> None:
        """Put the diffs of all files on the clipboard, by way of the terminal."""
        self.app.copy_to_clipboard("".join(line for file in self._files for line in file.lines))
        self.notify("Copied", timeout=2)

    def action_go_back(self) -> None:
        target = self._target()
        if target is None:
            self.notify(f"Revision {self.revision} runs, and there is no good one before it.", timeout=4)
        else:
            self.dismiss(target)

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._diff.show(self._files[event.option_index].lines)

    def _before(self) -> int | None:
        load = good_before(self._session.snapshot, self.revision)
        return load.revision if load is not None else None

    def _target(self) -> int | None:
        """Where `b` leads: to this revision, or if it runs already, to the one before it."""
        return self._before() if self.revision == self._session.snapshot.serving else self.revision

    @work(exclusive=True)
    async def _show(self) -> None:
        """Compare, and show the first file."""
        before = self._before()
        if before is None:
            self.against = "disk"
        pair = (self.revision, None) if self.against == "disk" else (before or 0, self.revision)
        nothing = f"Revision {self.revision} is made of "
        nothing += "what is on disk now." if self.against == "disk" else f"the same code as revision {before}."
        try:
            # Files are read, and diffs of large ones take a while.
            self._files = await asyncio.to_thread(self._session.differences, *pair)
        except StudioError as error:
            self._files, nothing = [], f"{error}\n{error.hint}".strip()
        if not self._files and self._or_before and before is not None:
            self._or_before, self.against = False, "before"
            self._show()
            return
        self._fill(nothing)
        self._show_lines(before)

    def _fill(self, nothing: str) -> None:
        """Files, and the diff of the first; or a sentence where there are none."""
        self._list.clear_options().add_options([_prompt(file) for file in self._files])
        self.query_one("#differences").set_class(not self._files, "-nothing")
        self.query_one("#diff-nothing", Static).update(nothing)
        if self._files:
            self._list.highlighted = 0
            self._diff.focus()

    def _show_lines(self, before: int | None) -> None:
        """Title and hint."""
        here = f"revision {self.revision}"
        title = f"{here} → on disk now" if self.against == "disk" else f"revision {before} → {here}"
        title = title[:1].upper() + title[1:]
        counted = figures.count(len(self._files), "file") if self._files else ""
        self.query_one("#diff-title", SplitLine).set(
            Content.styled(title, "bold $primary"), Content.styled(counted, "$foreground 60%")
        )
        keys = [("n p", "file")] if len(self._files) > 1 else []
        if before is not None:
            other = f"against revision {before}" if self.against == "disk" else "against the disk"
            keys.append(("tab", other))
        if self._target() is not None:
            keys.append(("b", f"back to revision {self._target()}"))
        hint = Content("  ").join(Content.assemble((key, "bold"), f" {does}") for key, does in keys)
        self.query_one("#diff-hint", SplitLine).set(
            hint.stylize("$foreground 60%"), Content.styled("esc closes", "$foreground 60%")
        )


def _prompt(file: FileDifference) -> Content:
    """``~ pipeline.py  +3 −1``."""
    signs = [line[:1] for line in without_names(file.lines)]
    added, removed = signs.count("+"), signs.count("-")
    counts = [(f"  +{added}", "$text-success")] if added else []
    counts += [(f"  −{removed}", "$text-error")] if removed else []
    return Content.assemble(_MARKS[file.change], f" {file.path}", *counts)

"""ReloadVerbs: what the keys and commands of reloading ask of the session, and what is said of it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from textual import on, work
from textual.screen import Screen

from ...errors import StudioError
from .. import wording
from ..last_good import good_before, last_good, load_of
from ..widgets.reloads import ReloadsPane

if TYPE_CHECKING:
    from ...snapshot import Snapshot
    from ..app import StudioApp
    from .differences import Against


class ReloadVerbs(Screen[None]):
    """The part of the main screen that loads, goes back, and shows differences."""

    app: StudioApp
    snapshot: Snapshot | None

    @work(group="verbs")
    async def action_reload(self) -> None:
        """Load the pipeline anew; after the host has ended, start all of it; after the input's end, play it again."""
        session, snapshot = self.app.session, self.snapshot
        if snapshot is not None and snapshot.phase == "running" and snapshot.ended is not None:
            await self._asked(session.set_input(session.settings.input), "Not reloaded")
        else:
            await self._asked(session.reload(), "Not reloaded")

    @work(group="verbs")
    async def action_reload_whole(self) -> None:
        """Load the pipeline in a fresh process, also where its code would fit into the running one."""
        await self._asked(self.app.session.reload(level="process"), "Not reloaded")

    @work(group="verbs")
    async def action_reload_forced(self) -> None:
        """Put what is on disk into the running process without proof that it takes effect."""
        await self._asked(self.app.session.reload("forced", level="force"), "Not reloaded")

    @work(group="verbs")
    async def action_go_back(self) -> None:
        """Run the good revision before the one that serves."""
        load = last_good(self.snapshot) if self.snapshot is not None else None
        if load is None:
            self.notify("There is no good revision to go back to yet.", timeout=4)
        else:
            await self._go_back(load.revision)

    @work(group="verbs")
    async def go_back_to(self, revision: int) -> None:
        """Run this revision again."""
        await self._go_back(revision)

    async def _go_back(self, revision: int) -> None:
        snapshot = self.snapshot
        load = load_of(snapshot, revision) if snapshot is not None else None
        if snapshot is not None and revision == snapshot.serving:
            self.notify(f"Revision {revision} is what runs.", timeout=4)
        elif load is not None and not load.can_return:
            ran = load.outcome in ("serving", "replaced")
            why = "is no longer kept" if ran else "never ran well, so it is not kept"
            self.notify(f"The code of revision {revision} {why}.", timeout=4)
        elif await self._asked(self.app.session.revert(revision), "Not gone back"):
            cause = f" ({wording.cause(load)})" if load is not None and wording.cause(load) else ""
            self.notify(f"Going back to revision {revision}{cause}. Your files stay as they are.", timeout=5)

    @work(group="verbs")
    async def action_keep_weights(self) -> None:
        """Put changed code into the running process from now on, or do not."""
        if self.snapshot is None:
            return
        on = not self.snapshot.keep_weights
        if await self._asked(self.app.session.set_keep_weights(on), "Not changed"):
            kept = "Weights are kept: changed code goes into the running process where frames prove it."
            self.notify(kept if on else "Weights are not kept: every reload is a fresh process.", timeout=4)

    @work(group="verbs")
    async def action_standby(self) -> None:
        """Keep a process ready for the next reload from now on, or do not."""
        if self.snapshot is None:
            return
        on = not self.snapshot.standby_on
        if await self._asked(self.app.session.set_standby(on), "Not changed"):
            self.notify("A standby is kept for the next reload." if on else "No standby is kept.", timeout=4)

    def action_differences(self) -> None:
        """What serves and what is on disk; where that is the same, what serves and the good revision before it."""
        serving = self.snapshot.serving if self.snapshot is not None else None
        if serving is None:
            self.notify("Nothing serves yet that could be compared.", timeout=4)
            return
        self.show_differences(serving, "disk", or_before=True)

    def show_differences(self, revision: int, against: Against, *, or_before: bool = False) -> None:
        """Open the screen of differences, and go back if that is asked for there."""
        from .differences import Differences

        def closed(target: int | None) -> None:
            if target is not None:
                self.go_back_to(target)

        self.app.push_screen(Differences(self.app.session, revision, against, or_before=or_before), closed)

    @on(ReloadsPane.DifferencesAsked)
    def _differences_asked(self, event: ReloadsPane.DifferencesAsked) -> None:
        """What a revision changed; of one that is not kept, what is on disk instead."""
        snapshot, revision = self.snapshot, event.revision
        load = load_of(snapshot, revision) if snapshot is not None else None
        if snapshot is None or load is None:
            return
        if load.can_return:
            self.show_differences(revision, "before")
            return
        good = good_before(snapshot, revision)
        if good is not None:
            self.show_differences(good.revision, "disk")
            self.notify(f"The code of revision {revision} is not kept. This is what is on disk.", timeout=5)
        else:
            self.notify(f"The code of revision {revision} is not kept.", timeout=4)

    @on(ReloadsPane.GoBackAsked)
    def _go_back_asked(self, event: ReloadsPane.GoBackAsked) -> None:
        self.go_back_to(event.revision)

    async def _asked(self, verb: Awaitable[None], refusal: str) -> bool:
        """Whether the session did what it was asked; if not, the reason is shown under the title `refusal`."""
        try:
            await verb
        except StudioError as error:
            self.app.show_error(error, refusal)
            return False
        return True

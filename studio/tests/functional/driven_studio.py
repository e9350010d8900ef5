"""The terminal program over a scripted session, driven by a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from scripted_session import STARTED_AT, ScriptedSession, running
from textual._context import active_app
from textual.app import App
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen

from ai_runner_studio.preview.terminal import Terminal
from ai_runner_studio.tui.app import StudioApp
from ai_runner_studio.tui.widgets.header import Header
from ai_runner_studio.tui.widgets.line import SplitLine
from ai_runner_studio.tui.widgets.param_row import ParamRow

S = TypeVar("S", bound=Screen[Any])
PATIENCE_S = 60.0
_TURNS = 25  # of the event loop, for coroutines that hand a message on


async def wait_for_messages(_least_s: float = 0.0, _most_s: float = 0.0) -> None:
    """Wait until the active app has processed all messages and drawn what they changed.

    Replaces Textual's `wait_for_idle`, which looks at the CPU time of the process: the ticks of the previews make that
    wait up to a second, and a busy machine makes it return too early.
    """
    app = active_app.get()
    for _ in range(10):
        await _process(app)
        screen = app.screen
        changed = screen._dirty_widgets or screen._layout_required or screen._repaint_required or screen._callbacks
        if not changed or not screen.is_current:
            break
        screen._on_timer_update()


async def _process(app: App[Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    idle = 0
    while idle < _TURNS and app.is_running:
        await asyncio.sleep(0)
        pumps = [app, *app._registry]
        idle = 0 if any(pump.message_queue_size or pump._next_callbacks for pump in pumps) else idle + 1
        assert time.monotonic() < deadline, "the app is never idle"


class Studio:
    """An app under test, its session and its pilot."""

    def __init__(self, app: StudioApp, session: ScriptedSession, pilot: Pilot[None]) -> None:
        self.app = app
        self.session = session
        self.pilot = pilot

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not true within {PATIENCE_S:g} s")
            await asyncio.sleep(0.005)

    async def post(self, **changes: Any) -> None:
        """Let the session say this, and wait until it is on the screen."""
        snapshot = self.session.post(**changes)
        await self.until(lambda: self.app.main.snapshot is snapshot)
        await self.pilot.pause()

    async def work_done(self) -> None:
        """Wait until the workers of the present screen have finished."""
        await self.until(lambda: all(w.is_finished for w in self.app.workers if w.node is self.app.screen))
        await self.pilot.pause()

    async def opened(self, kind: type[S]) -> S:
        """The screen of that kind, once it is there with all of its widgets."""

        def there() -> bool:
            screen = self.app.screen
            return isinstance(screen, kind) and all(one.is_mounted for one in (screen, *screen.walk_children()))

        await self.until(there)
        await self.pilot.pause()
        assert isinstance(self.app.screen, kind)
        return self.app.screen

    async def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, and wait until the screen has taken it."""
        header = self.app.main.query_one(Header)
        width = header.size.width + columns - self.app.size.width
        await self.pilot.resize_terminal(columns, rows)
        await self.until(lambda: header.size.width == width)
        await self.pilot.pause()

    def row(self, name: str) -> ParamRow:
        return self.app.main.params.rows[name]

    def text(self, kind: type[SplitLine]) -> str:
        """What a line of the screen shows in its present width."""
        line = self.app.main.query_one(kind)
        return line.render().plain

    async def command(self, name: str) -> None:
        """Choose a command in the palette by its name."""
        await self.pilot.press("ctrl+p")
        palette = await self.opened(CommandPalette)
        await self.pilot.press(*name)
        found = palette.query_one(CommandList)
        searches = [work for work in self.app.workers if work.group == CommandPalette._GATHER_COMMANDS_GROUP]
        await self.until(lambda: all(search.is_finished for search in searches) and found.option_count)
        await self.pilot.press("enter")

    def messages(self) -> list[str]:
        """Notifications, oldest first."""
        return [notification.message for notification in self.app._notifications]

    def shown(self) -> set[str]:
        return {pane.id or "" for pane in self.app.main.query(".pane") if pane.display}

    def params_asked(self) -> list[dict[str, Any]]:
        return [value for name, value in self.session.calls if name == "set_params"]


@asynccontextmanager
async def studio(size: tuple[int, int] = (120, 36), *, loaded: bool = True, **settings: Any) -> AsyncIterator[Studio]:
    """The studio over a scripted session, which serves revision 2 if `loaded`."""
    session = ScriptedSession(**settings)
    app = StudioApp(session, terminal=Terminal(), clock=lambda: STARTED_AT + 1.3)  # type: ignore[arg-type]
    try:
        async with app.run_test(size=size) as pilot:
            under_test = Studio(app, session, pilot)
            if loaded:
                await under_test.post(**running())
                await under_test.until(lambda: app.main.params.rows)
            yield under_test
    finally:
        session.close()

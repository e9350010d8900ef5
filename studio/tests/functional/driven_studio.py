"""The terminal program over a scripted session, driven by a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_session import STARTED_AT, ScriptedSession, running
from textual.pilot import Pilot

from ai_runner_studio.preview.terminal import Terminal
from ai_runner_studio.tui.app import StudioApp
from ai_runner_studio.tui.widgets.line import SplitLine
from ai_runner_studio.tui.widgets.param_row import ParamRow


class Studio:
    """An app under test, its session and its pilot."""

    def __init__(self, app: StudioApp, session: ScriptedSession, pilot: Pilot[None]) -> None:
        self.app = app
        self.session = session
        self.pilot = pilot

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something to come true; fails after five seconds."""
        for _ in range(250):
            if condition():
                return
            await asyncio.sleep(0.02)
        pytest.fail("it did not come true within five seconds")

    async def post(self, **changes: Any) -> None:
        """Let the session say this, and wait until it is on the screen."""
        snapshot = self.session.post(**changes)
        await self.until(lambda: self.app.main.snapshot is snapshot)
        await self.pilot.pause()

    def row(self, name: str) -> ParamRow:
        return self.app.main.params.rows[name]

    def text(self, kind: type[SplitLine]) -> str:
        """What a line of the screen shows in its present width."""
        line = self.app.main.query_one(kind)
        return line.render().plain

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

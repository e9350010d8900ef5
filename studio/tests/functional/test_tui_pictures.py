"""Pictures of the main states of the screen, at the sizes people have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scripted_session import STARTED_AT, ScriptedSession, differences, name_error, reloads, routed, running, standby
from textual.pilot import Pilot
from textual.widgets import ProgressBar
from textual.worker import Worker

from ai_runner_studio.preview.terminal import Terminal
from ai_runner_studio.snapshot import Load
from ai_runner_studio.tui.app import StudioApp
from ai_runner_studio.tui.screens.differences import Differences
from ai_runner_studio.tui.screens.export_image import ExportImage
from ai_runner_studio.tui.screens.too_small import TooSmall
from runner.live.events import LoadPlan, Step

SMALL, USUAL, LARGE = (80, 24), (120, 36), (200, 56)
Compare = Callable[..., bool]
_THIRD = ("3", "end", "up", "up")  # the list of reloads, revision 3

FIRST_LOAD = Load(1, "start", STARTED_AT, step="import", steps=(Step(name="start process", seconds=0.04),))
RELOAD = Load(
    3,
    "saved",
    STARTED_AT,
    files=("/home/me/green_shift/pipeline.py",),
    step="initialize",
    steps=(Step(name="start process", seconds=0.003), Step(name="import", seconds=0.2)),
)
IN_PLACE = LoadPlan(level="code", way="in place")
HAND_OVER = Load(
    3,
    "saved",
    STARTED_AT,
    files=("/home/me/green_shift/pipeline.py",),
    step="initialize",
    plan=LoadPlan(way="hand-over", memory="GPU", needed_bytes=9_100_000_000, free_bytes=4_000_000_000),
)
LOADS = reloads()
STATES: dict[str, dict[str, Any]] = {
    "loading": {"phase": "running", "state": "LOADING", "load": FIRST_LOAD, "loads": (FIRST_LOAD,)},
    "running": running(),
    "reloading": running(load=RELOAD, loads=(*running()["loads"], RELOAD)),
    "error": running(error=name_error(), error_count=14, state="ERROR"),
    "ended": running(phase="ended"),
    "reloads": running(load=LOADS[-1], loads=LOADS, serving=8, standby=standby()),
    "in place": running(load=LOADS[2], loads=LOADS[:3], serving=3, standby=standby()),
    "patching": running(load=replace(RELOAD, plan=IN_PLACE, step="new code", steps=()), standby=standby()),
    "hand-over": running(load=HAND_OVER, serving=None, state="LOADING", standby=standby(state="warming")),
    "dropped": running(standby=standby(state="dropped", reason="0.7 GB of RAM free"), keep_weights=False),
    "no standby": running(standby=standby(state="off"), standby_on=False),
    "routed": routed(),
}


def bars() -> NDArray[np.uint8]:
    """Colour bars with a square in their middle: few colours keep the pictures of the screen small."""
    picture = np.empty((512, 512, 3), np.uint8)
    for number in range(8):
        picture[:, number * 64 : number * 64 + 64] = [(number >> bit & 1) * 200 + 20 for bit in (1, 2, 0)]
    picture[192:320, 192:320] = (240, 240, 240)
    return picture


def script(state: str, *keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Bring the app into a state, then press keys."""

    async def run(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, StudioApp)
        session: Any = app.session
        snapshot = session.post(**STATES[state])
        while app.main.snapshot is not snapshot:
            await asyncio.sleep(0.01)
        if state != "loading" and not isinstance(app.screen, TooSmall):
            session.input_tap.write(bars())
            session.output_tap.write(255 - bars())
            while not (app.main.previews.input.picture.frame and app.main.previews.output.picture.frame):
                await asyncio.sleep(0.01)
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            while isinstance(app.screen, ExportImage) and not _settled(app.screen):
                await asyncio.sleep(0.01)
            while isinstance(app.screen, Differences) and not all(w.is_finished for w in _workers(app)):
                await asyncio.sleep(0.01)
        await pilot.pause()

    return run


def _workers(app: StudioApp) -> list[Worker[Any]]:
    """Workers of the present screen."""
    return [worker for worker in app.workers if worker.node is app.screen]


def _settled(screen: ExportImage) -> bool:
    """Whether it shows the plan, or a step of the build."""
    return screen.stage == "planned" or (screen.stage == "building" and screen.query_one(ProgressBar).total == 20)


@pytest.mark.usefixtures("utc", "exact_pilot")
@pytest.mark.parametrize(
    ("state", "size", "keys", "theme"),
    [
        pytest.param("loading", SMALL, (), "", id="loading-80x24"),
        pytest.param("loading", USUAL, (), "", id="loading-120x36"),
        pytest.param("running", SMALL, (), "", id="running-80x24"),
        pytest.param("running", USUAL, (), "", id="running-120x36"),
        pytest.param("running", LARGE, (), "", id="running-200x56"),
        pytest.param("running", USUAL, (), "light", id="running-light-120x36"),
        pytest.param("running", SMALL, ("p",), "", id="text-80x24"),
        pytest.param("running", SMALL, ("2",), "", id="log-80x24"),
        pytest.param("running", SMALL, ("3",), "", id="reloads-80x24"),
        pytest.param("running", SMALL, ("4",), "", id="metrics-80x24"),
        pytest.param("running", SMALL, ("question_mark",), "", id="help-80x24"),
        pytest.param("reloading", USUAL, (), "", id="reloading-120x36"),
        pytest.param("error", SMALL, (), "", id="error-80x24"),
        pytest.param("error", USUAL, (), "", id="error-120x36"),
        pytest.param("error", SMALL, ("e",), "", id="error-detail-80x24"),
        pytest.param("ended", USUAL, (), "", id="ended-120x36"),
        pytest.param("reloads", SMALL, ("3",), "", id="reloads-newest-80x24"),
        pytest.param("reloads", SMALL, ("3", "end", *["up"] * 3), "", id="reloads-older-80x24"),
        pytest.param("reloads", USUAL, ("3", *["minus"] * 15), "", id="reloads-newest-120x36"),
        pytest.param("reloads", USUAL, ("3", *["minus"] * 15, "end"), "", id="reloads-older-120x36"),
        pytest.param("reloads", USUAL, ("3", "down", "down", "down"), "light", id="reloads-light-120x36"),
        pytest.param("reloads", SMALL, (*_THIRD, "enter"), "", id="differences-80x24"),
        pytest.param("reloads", USUAL, (*_THIRD, "enter"), "", id="differences-120x36"),
        pytest.param("reloads", USUAL, (*_THIRD, "enter", "n"), "light", id="differences-light-120x36"),
        pytest.param("reloads", SMALL, ("d", "tab"), "", id="no-differences-80x24"),
        pytest.param("in place", SMALL, (), "", id="in-place-80x24"),
        pytest.param("in place", USUAL, (), "", id="in-place-120x36"),
        pytest.param("patching", SMALL, (), "", id="patching-80x24"),
        pytest.param("hand-over", SMALL, (), "", id="hand-over-80x24"),
        pytest.param("hand-over", USUAL, (), "", id="hand-over-120x36"),
        pytest.param("dropped", SMALL, (), "", id="standby-dropped-80x24"),
        pytest.param("dropped", USUAL, ("4",), "", id="standby-dropped-120x36"),
        pytest.param("dropped", LARGE, (), "", id="standby-dropped-200x56"),
        pytest.param("no standby", USUAL, (), "", id="standby-off-120x36"),
        pytest.param("routed", SMALL, ("4",), "", id="route-80x24"),
        pytest.param("routed", USUAL, ("4",), "", id="route-120x36"),
        pytest.param("routed", LARGE, (), "light", id="route-light-200x56"),
        pytest.param("running", SMALL, ("x",), "", id="export-planned-80x24"),
        pytest.param("running", USUAL, ("x", "enter"), "", id="export-building-120x36"),
        pytest.param("running", (50, 12), (), "", id="too-small-50x12"),
    ],
)
def test_screen(state: str, size: tuple[int, int], keys: tuple[str, ...], theme: str, snap_compare: Compare) -> None:
    session: Any = ScriptedSession(theme=theme)
    session.diffs = differences()
    session.job.planned.set()

    def clock() -> float:
        return (session.snapshot.load.started_at if session.snapshot.load else STARTED_AT) + 1.3

    app = StudioApp(session, terminal=Terminal(), clock=clock)
    try:
        assert snap_compare(app, terminal_size=size, run_before=script(state, *keys))
    finally:
        session.close()

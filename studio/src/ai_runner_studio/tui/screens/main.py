"""The main screen: pictures above, panes below, one line of figures between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from ...errors import StudioError
from ..widgets.activity import Activity, is_loading, loading_text
from ..widgets.error import ErrorPane
from ..widgets.footer import StudioFooter
from ..widgets.header import Header
from ..widgets.log import LogPane
from ..widgets.metrics import MetricsPane
from ..widgets.metrics_line import MetricsLine
from ..widgets.params import ParamsForm
from ..widgets.previews import Previews
from ..widgets.reloads import ReloadsPane
from ..widgets.route_line import RouteLine
from ..widgets.splitter import ColumnSplitter, SplitterDragged
from ..widgets.tab_row import TabRow
from .arrangement import TWO_COLUMNS, Arrangement
from .reload_verbs import ReloadVerbs

if TYPE_CHECKING:
    from ...snapshot import Snapshot
    from ..app import StudioApp

_STOPWATCH_S = 0.1


class MainScreen(ReloadVerbs):
    """Shows snapshots of the session as they come, and turns keys into the session's verbs."""

    app: StudioApp
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (TWO_COLUMNS, "-wide")]  # noqa: RUF012 (as the base class has it)
    AUTO_FOCUS = ""  # single keys work at once; tab and enter lead into the panes
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reload", "Reload", tooltip="Load the pipeline anew now"),
        Binding("R", "reload_whole", "Fresh", tooltip="Load the pipeline anew in a fresh process"),
        Binding("F", "reload_forced", "Force", show=False, tooltip="Put changed code in place without proof"),
        Binding("b", "go_back", "Back", tooltip="Run the good revision before the one that serves"),
        Binding("d", "differences", "Diff", tooltip="What is on disk, against what serves"),
        Binding("w", "keep_weights", "Weights", tooltip="Keep what initialize() built when code changes, or do not"),
        Binding("space", "pause", "Pause", tooltip="Hold the input, or let it go on"),
        Binding("i", "open_input", "Input", tooltip="Open another input"),
        Binding("n", "route", "Route", tooltip="Frames by a local relay, there and back, or directly"),
        Binding("p", "preview_mode", "Preview", tooltip="Draw the pictures in the next way the terminal can do"),
        Binding("e", "error_detail", "Error", tooltip="The error with its full traceback"),
        Binding("x", "export_image", "Export", show=False),
        Binding("l", "pane('log')", "Log", show=False),
        Binding("enter", "enter_pane", "Edit", show=False),
        Binding("plus,equals_sign", "grow(1)", "Bigger", key_display="+", show=False),
        Binding("minus", "grow(-1)", "Smaller", key_display="-", show=False),
        Binding("1", "nth_pane(0)", show=False),
        Binding("2", "nth_pane(1)", show=False),
        Binding("3", "nth_pane(2)", show=False),
        Binding("4", "nth_pane(3)", show=False),
        Binding("5", "nth_pane(4)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="main")
        self.snapshot: Snapshot | None = None

    def compose(self) -> ComposeResult:
        app = self.app
        self.previews = Previews(app.session, app.terminal, app.draw_mode, app.session.settings.preview_fps)
        self.params = ParamsForm(app.session)
        self.log_pane = LogPane()
        yield Header(id="header")
        yield Activity(id="activity")
        yield self.previews
        yield MetricsLine(id="metrics-line")
        yield RouteLine(id="route-line")
        yield TabRow()
        with Horizontal(id="panes"):
            yield self.params
            yield ColumnSplitter(id="params-splitter")
            yield self.log_pane
            yield ReloadsPane()
            yield ErrorPane()
            yield ColumnSplitter(id="metrics-splitter")
            yield MetricsPane()
        yield StudioFooter()
        self.arrangement = Arrangement(self)

    def on_mount(self) -> None:
        self.arrangement.apply()
        self._stopwatch = self.set_interval(_STOPWATCH_S, self._show_activity, pause=True)
        self._follow_session()

    def on_resize(self) -> None:
        self.arrangement.apply()
        self.app.check_size()

    @work(group="session", exclusive=True)
    async def _follow_session(self) -> None:
        """Show the snapshot there is, then each new one."""
        await self.show_snapshot(self.app.session.snapshot)
        while True:
            snapshot = await self.app.session.changed()
            if not self.query(Header):  # the screen is being taken down
                return
            await self.show_snapshot(snapshot)

    async def show_snapshot(self, snapshot: Snapshot) -> None:
        """Bring everything on the screen up to date."""
        before, self.snapshot = self.snapshot, snapshot
        app = self.app
        self.show_header()
        self._show_activity()
        if is_loading(snapshot):
            self._stopwatch.resume()
        else:
            self._stopwatch.pause()
        self.previews.show_snapshot(snapshot, app.session.paused)
        self.show_metrics()
        self.show_route()
        self.query_one(MetricsPane).show_snapshot(snapshot)
        self.log_pane.show_snapshot(snapshot)
        self.query_one(ReloadsPane).show_snapshot(snapshot)
        self.query_one(ErrorPane).show_snapshot(snapshot)
        self.arrangement.show_snapshot(before, snapshot)
        await self.params.show_snapshot(snapshot)
        self._notify_notices(before, snapshot)

    def show_header(self) -> None:
        """The header, for its present width."""
        if self.snapshot is not None:
            app = self.app
            self.query_one(Header).show_snapshot(self.snapshot, app.pipeline_name, app.session.paused)

    def show_metrics(self) -> None:
        """The line of figures, for its present width."""
        if self.snapshot is not None:
            self.query_one(MetricsLine).show_snapshot(self.snapshot)

    def show_route(self) -> None:
        """The line of hops, for its present width."""
        if self.snapshot is not None:
            self.query_one(RouteLine).show_snapshot(self.snapshot)

    def after_display(self) -> None:
        """Textual has updated the terminal; pictures beside its text may have to be drawn again."""
        if self.is_attached and hasattr(self, "previews"):
            self.previews.after_display()

    def _show_activity(self) -> None:
        if self.snapshot is None:
            return
        snapshot, now = self.snapshot, self.app.clock()
        self.query_one(Activity).show_snapshot(snapshot, now)
        if snapshot.phase == "ended":
            self.previews.say("The runner host has ended.", "", "r starts it again, q quits")
        elif is_loading(snapshot) and snapshot.serving is None:
            self.previews.say("Loading…", "", loading_text(snapshot, now))
        elif snapshot.serving is None and snapshot.error is not None:
            self.previews.say("Not loaded yet:", "", snapshot.error.headline.splitlines()[0])
        else:
            self.previews.say("Waiting for the first frame…")

    def _notify_notices(self, before: Snapshot | None, snapshot: Snapshot) -> None:
        seen = before.notices if before is not None else ()
        for notice in snapshot.notices:
            if notice not in seen:
                self.notify(notice, timeout=6, markup=False)

    # What keys do -------------------------------------------------------------------------------

    @work(group="verbs")
    async def action_pause(self) -> None:
        session = self.app.session
        try:
            await session.set_paused(not session.paused)
        except StudioError as error:
            self.app.show_error(error, "Not paused")
        if self.snapshot is not None:
            await self.show_snapshot(self.snapshot)

    @work(group="verbs")
    async def action_route(self) -> None:
        """Take frames by a local relay from now on, or directly again."""
        session = self.app.session
        by_trickle = session.settings.route != "trickle"
        if await self._asked(session.set_route("trickle" if by_trickle else "direct"), "Not switched"):
            way = "Frames go by a local relay, there and back." if by_trickle else "Frames go directly again."
            self.notify(f"{way} The stream begins again.", timeout=4)

    def action_open_input(self) -> None:
        from .open_input import OpenInput

        self.app.push_screen(OpenInput(self.app.session))

    def action_export_image(self) -> None:
        from .export_image import ExportImage

        self.app.push_screen(ExportImage(self.app.session))

    def action_preview_mode(self) -> None:
        mode = self.previews.next_mode()
        names = {"kitty": "kitty graphics", "sixel": "sixel", "blocks": "half-blocks", "text": "text"}
        self.notify(f"Preview by {names[mode]}", timeout=2)

    def action_error_detail(self) -> None:
        from .error_detail import ErrorDetail

        report = self.arrangement.latest_report()
        if self.snapshot is None or report is None:
            self.notify("Nothing is wrong, and nothing was.", timeout=2)
            return
        self.app.push_screen(ErrorDetail(report, self.snapshot))

    def action_pane(self, pane: str) -> None:
        """Show a pane; what can be scrolled gets the keyboard, so that one can move in it at once."""
        self.arrangement.choose(pane)
        widget = self.log_pane.lines if pane == "log" else self.query_one(f"#{pane}")
        if widget.focusable:
            widget.focus()
        if pane == "params" and self.arrangement.always_shows(pane):
            self.notify("Parameters are always in view at this width; enter edits them.", timeout=2)

    def action_nth_pane(self, index: int) -> None:
        panes = self.arrangement.panes()
        if index < len(panes):
            self.action_pane(panes[index])
        else:
            self.notify("No error.", timeout=2)

    def action_enter_pane(self) -> None:
        self.arrangement.choose("params")
        self.params.focus_first()

    def action_grow(self, rows: int) -> None:
        self.arrangement.grow(rows)

    @on(TabRow.Chosen)
    def _tab_chosen(self, event: TabRow.Chosen) -> None:
        self.arrangement.choose(event.pane)

    @on(SplitterDragged)
    def _splitter_dragged(self, event: SplitterDragged) -> None:
        self.arrangement.drag(event.splitter.id or "", event.x, event.y)

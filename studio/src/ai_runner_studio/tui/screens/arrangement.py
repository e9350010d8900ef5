"""Arrangement: how the main screen's parts share the room there is, and which panes are in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input

from ..widgets.tab_row import Column, Tab, TabRow

if TYPE_CHECKING:
    from runner.live.report import ErrorReport

    from ...snapshot import Snapshot
    from .main import MainScreen

TWO_COLUMNS = 100  # cells of width from which the parameters stand beside the other panes
THREE_COLUMNS = 170  # and the figures too
_FIXED_ROWS = 5  # header, activity, metrics line, tab row, footer
_LEAST_PICTURE_ROWS = 4
_LEAST_PANE_ROWS = 3
_TITLES = {"params": "Parameters", "log": "Log", "reloads": "Reloads", "metrics": "Metrics", "error": "Error"}


class Arrangement:
    """Sizes and visibility. One column: all panes share it. Two: parameters | the others. Three: | metrics.

    Attributes:
        chosen: the pane in view among those that share a column.
    """

    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen
        self.chosen = "params"
        self._before_error = ""
        self._extra_rows = 0
        self._params_width: int | None = None
        self._metrics_width: int | None = None
        self._snapshot: Snapshot | None = None
        self._latest_report: ErrorReport | None = None
        self._brought: object = None  # the error that came into view last

    @property
    def columns(self) -> int:
        width = self._screen.size.width
        return 1 if width < TWO_COLUMNS else 2 if width < THREE_COLUMNS else 3

    def panes(self) -> list[str]:
        """All panes that can be chosen, in the order of their number keys."""
        error = self._snapshot is not None and self._snapshot.error is not None
        return ["params", "log", "reloads", "metrics", *(["error"] if error else [])]

    def latest_report(self) -> ErrorReport | None:
        """What is wrong, or was last."""
        return self._latest_report

    @property
    def _routed(self) -> bool:
        """Whether frames go by trickle, which has a line of its own."""
        return self._snapshot is not None and self._snapshot.route == "trickle"

    def always_shows(self, pane: str) -> bool:
        """Whether a pane has a column of its own at this width."""
        return pane in self._pinned()

    def choose(self, pane: str) -> None:
        """Bring a pane into view."""
        if pane in self._pinned():
            return
        self.chosen = pane
        self._before_error = ""
        self.apply()

    def grow(self, rows: int) -> None:
        """Make the pictures higher by so many rows, or lower."""
        before = self._picture_rows()
        self._extra_rows += rows
        if self._picture_rows() == before:
            self._extra_rows -= rows
        self.apply()

    def drag(self, splitter: str, x: int, y: int) -> None:
        """A splitter was dragged to a place of the screen."""
        width = self._screen.size.width
        if splitter == "metrics-line":
            self.grow(y - 2 - self._picture_rows())
        elif splitter == "params-splitter":
            self._params_width = max(24, min(width - 30, x))
        else:
            self._metrics_width = max(30, min(width - 80, width - 1 - x))
        self.apply()

    def show_snapshot(self, before: Snapshot | None, snapshot: Snapshot) -> None:
        """Bring a new error into view, and go back to what was there when it is mended.

        An error that comes and goes does so once per load, and never while the user types into the pane in view.
        """
        self._snapshot = snapshot
        failed_before = before is not None and before.error is not None
        self._latest_report = snapshot.error or self._latest_report
        if snapshot.error is not None and not failed_before and not self._typing_there():
            place = (snapshot.error.kind, snapshot.error.file, snapshot.error.line)
            revision = snapshot.load.revision if snapshot.load is not None else 0
            if (place, revision) != self._brought:
                self._brought = (place, revision)
                self._before_error, self.chosen = self.chosen, "error"
        elif snapshot.error is None and self.chosen == "error":
            self.chosen, self._before_error = self._before_error or "params", ""
        self.apply()

    def _typing_there(self) -> bool:
        """Whether something is being typed into the pane that would give way."""
        typing = isinstance(self._screen.focused, Input)
        return typing and self._screen.query_one(f"#{self.chosen}").has_focus_within

    def apply(self) -> None:
        """Give every part its size; styles that do not change cost nothing."""
        screen = self._screen
        pinned = self._pinned()
        if self.chosen in pinned or self.chosen not in self.panes():
            self.chosen = "log"
        screen.previews.styles.height = self._picture_rows()
        shown = {self.chosen, *pinned}
        for pane in _TITLES:
            screen.query_one(f"#{pane}").display = pane in shown
        screen.query_one("#route-line").display = self._routed
        screen.query_one("#params-splitter").display = "params" in pinned
        screen.query_one("#metrics-splitter").display = "metrics" in pinned
        params_width, metrics_width = self._widths()
        screen.query_one("#params").styles.width = params_width if "params" in pinned else "1fr"
        screen.query_one("#metrics").styles.width = metrics_width if "metrics" in pinned else "1fr"
        screen.query_one(TabRow).set(self._tab_columns(), self.chosen)

    def _pinned(self) -> tuple[str, ...]:
        return ((), ("params",), ("params", "metrics"))[self.columns - 1]

    def _widths(self) -> tuple[int, int]:
        width = self._screen.size.width
        params = self._params_width or max(44, min(64, width * 2 // 5))
        metrics = self._metrics_width or max(44, min(60, width // 4))
        return min(params, max(24, width - 30)), min(metrics, max(30, width - params - 40))

    def _tab_columns(self) -> tuple[Column, ...]:
        width = self._screen.size.width
        pinned = self._pinned()
        params_width, metrics_width = self._widths()
        shared = tuple(self._tab(pane) for pane in self.panes() if pane not in pinned)
        columns = [Column(params_width + 1, (self._tab("params"),))] if "params" in pinned else []
        left = width - sum(column.width for column in columns)
        if "metrics" not in pinned:
            return (*columns, Column(left, shared))
        return (*columns, Column(left - metrics_width, shared), Column(metrics_width, (self._tab("metrics"),)))

    def _tab(self, pane: str) -> Tab:
        snapshot = self._snapshot
        if snapshot is None:
            return Tab(pane, _TITLES[pane])
        if pane == "error":
            return Tab(pane, _TITLES[pane], "●", "$text-error")
        if pane == "reloads" and len(snapshot.loads) > 1:
            return Tab(pane, _TITLES[pane], str(len(snapshot.loads)))
        if pane == "params" and snapshot.params_schema.get("title") and self.columns > 1:
            return Tab(pane, _TITLES[pane], str(snapshot.params_schema["title"]))
        return Tab(pane, _TITLES[pane])

    def _picture_rows(self) -> int:
        """Rows of the pictures with their titles: about three fifths, never more than their width can fill."""
        size = self._screen.size
        free = size.height - _FIXED_ROWS - self._routed
        stream = self._snapshot.stream if self._snapshot else None
        shape = stream.height / stream.width if stream else 1.0
        aspect = self._screen.app.terminal.cell_aspect
        fills = 1 + round((size.width // 2 - 1) * shape * aspect / 2)
        wanted = min(round(free * 0.6), fills) + self._extra_rows
        return max(_LEAST_PICTURE_ROWS, min(free - _LEAST_PANE_ROWS, wanted))

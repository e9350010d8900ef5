"""ParamsForm: the pipeline's parameters, made from the JSON schema of its params class and applied live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from ...errors import StudioError
from ..schema import ParamField, read_fields
from .line import SplitLine
from .param_row import ParamRow

if TYPE_CHECKING:
    from ...session import Session
    from ...snapshot import Snapshot

_DEBOUNCE_S = 0.15
_LABEL_MAX = 24
_INHERITED = ("width", "height", "show_reloading_frame")  # of every pipeline: its own come first
_SLIDER_LEAST = 8  # cells, margins included
_NUMBER_WIDTH = 11
_LABEL_EXTRA = 4  # the mark of a changed value, and the space around


class ParamsForm(Vertical):
    """Rows of parameters, and one line of help for the row at hand.

    It is made anew only when the schema changes; values that change elsewhere go into the rows that are there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "reset", "Defaults"),
        Binding("escape", "leave", "Leave"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__(id="params", classes="pane")
        self.session = session
        self.rows: dict[str, ParamRow] = {}
        self._schema: dict[str, Any] | None = None
        self._changes: dict[str, Any] = {}
        self._sending: dict[str, Any] = {}
        self._label_width = 0

    def compose(self) -> ComposeResult:
        yield VerticalScroll(id="param-rows", can_focus=False)
        yield SplitLine(id="param-help")

    async def show_snapshot(self, snapshot: Snapshot) -> None:
        """Bring the form up to date."""
        if snapshot.params_schema != self._schema:
            await self._rebuild(snapshot)
            return
        for name, row in self.rows.items():
            if name not in self._changes and name not in self._sending and name in snapshot.params:
                row.sync(snapshot.params[name])

    def on_resize(self) -> None:
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Leave the ranges out, then the sliders, where there is no room; the line of help has the ranges too."""
        ranges = max([len(row.field.range_text) for row in self.rows.values()], default=0)
        room = self.size.width - self._label_width - _NUMBER_WIDTH - 2
        self.set_class(room < ranges + _SLIDER_LEAST, "-no-ranges")
        self.set_class(room < _SLIDER_LEAST, "-no-sliders")

    def focus_first(self) -> None:
        """Put the keyboard into the first parameter."""
        for row in self.rows.values():
            row.editor.focus()
            return

    def action_leave(self) -> None:
        self.screen.set_focus(None)

    def action_reset(self) -> None:
        """Give every parameter its default."""
        defaults = {name: row.field.default for name, row in self.rows.items() if row.field.has_default}
        for name, value in defaults.items():
            self.screen.set_focus(None)
            self.rows[name].put(value)
        self._change(defaults)

    @on(Button.Pressed, "#reset-params")
    def _reset_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_reset()

    @on(ParamRow.Changed)
    def _row_changed(self, event: ParamRow.Changed) -> None:
        event.stop()
        self._change({event.name: event.value})

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        row = next((node for node in event.widget.ancestors_with_self if isinstance(node, ParamRow)), None)
        self._help(row.field if row else None)

    def on_descendant_blur(self) -> None:
        self._help(None)

    def _help(self, field: ParamField | None) -> None:
        line = self.query_one("#param-help", SplitLine)
        if field is None:
            changed = sum(row.value != row.field.default for row in self.rows.values() if row.field.has_default)
            text = f"{changed} of {len(self.rows)} changed from their defaults" if changed else ""
            line.set(Content.styled(text, "$foreground 60%"))
            return
        text = field.help or (field.title if field.title.lower().replace(" ", "_") != field.name.lower() else "")
        if field.kind == "json":
            text = f"{text}  (JSON)" if text else "a JSON value"
        keys = f"{field.range_text}  ↑↓ step" if field.kind in ("integer", "number") else ""
        line.set(Content.styled(text, "$foreground"), Content.styled(keys, "$foreground 60%"))

    async def _rebuild(self, snapshot: Snapshot) -> None:
        """New rows for a new schema; the parameter that had the keyboard gets it back."""
        focused = next((name for name, row in self.rows.items() if row.has_focus_within), None)
        self._schema = snapshot.params_schema
        fields = sorted(read_fields(snapshot.params_schema), key=lambda field: field.name in _INHERITED)
        self.rows = {field.name: ParamRow(field, snapshot.params.get(field.name, field.default)) for field in fields}
        area = self.query_one("#param-rows", VerticalScroll)
        width = min(_LABEL_MAX, max([len(name) for name in self.rows], default=0)) + 4
        with self.app.batch_update():
            await area.remove_children()
            if not area.is_attached:  # left meanwhile: the screen is being taken down
                return
            if not fields:
                await area.mount(Static(_nothing_text(snapshot), classes="nothing"))
            else:
                reset = Button("Reset to defaults", id="reset-params", compact=True)
                await area.mount_all([*self.rows.values(), reset])
            for label in area.query(".param-label"):
                label.styles.width = width
            for text in area.query(".param-range"):
                text.styles.width = max(len(field.range_text) for field in fields)
            self._label_width = width
            self._fit_columns()
        if not area.is_attached:
            return
        if focused in self.rows:
            self.rows[focused].editor.focus()
        self._help(None)

    def _change(self, changes: dict[str, Any]) -> None:
        self._changes.update(changes)
        if not self._sending:
            self.run_worker(self._apply(), group="params-debounce", exclusive=True)

    async def _apply(self) -> None:
        """Wait for the user to stop turning the knob, then hand the changes over."""
        await asyncio.sleep(_DEBOUNCE_S)
        self.run_worker(self._send(), group="params", exit_on_error=True)

    async def _send(self) -> None:
        while self._changes and not self._sending:
            self._sending, self._changes = self._changes, {}
            try:
                await self.session.set_params(self._sending)
            except StudioError as error:
                self._refused(error)
            finally:
                self._sending = {}
        self._help_if_idle()

    def _help_if_idle(self) -> None:
        if self.query("#param-help") and not self.has_focus_within:  # else left meanwhile: the screen is taken down
            self._help(None)

    def _refused(self, error: StudioError) -> None:
        """Show each reason at its row, and what fits no row as a message."""
        reasons: dict[str, str] = getattr(error, "refused", {})
        shown = [name for name in reasons if name in self.rows]
        for name in shown:
            self.rows[name].refuse(reasons[name])
        if not shown:
            self.notify(str(error), title="Parameters not taken", severity="error", markup=False)


def _nothing_text(snapshot: Snapshot) -> str:
    if snapshot.serving is None:
        return "The parameters show here once the pipeline is loaded."
    return "This pipeline has no parameters."

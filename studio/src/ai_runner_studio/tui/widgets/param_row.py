"""ParamRow: one parameter of the form, with its editor, its slider, and what is wrong with its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Select, Static, Switch

from runner.live.plain_json import visible

from ..schema import ParamField
from .slider import Slider

_KEYS_TO_STEPS = {"up": 1, "down": -1, "shift+up": 10, "shift+down": -10, "pageup": 10, "pagedown": -10}


class ParamRow(Vertical):
    """Shows a field and its value; tells of valid changes only, and says why others are none."""

    @dataclass
    class Changed(Message):
        """The user has given the parameter a value that its schema allows."""

        name: str
        value: Any

    def __init__(self, field: ParamField, value: Any) -> None:
        super().__init__(classes="param-row")
        self.field = field
        self.value = value
        self._applied = value  # by the pipeline, as far as is known
        self.invalid = False
        self.editor = self._make_editor()
        self._slider = Slider(self._share(value)) if field.bounded else None
        self._label = Static(classes="param-label")
        self._reason = Static(classes="param-reason")
        self._reason.display = False

    def compose(self) -> ComposeResult:
        with Horizontal(classes="param-line"):
            yield self._label
            yield self.editor
            if self._slider is not None:
                yield self._slider
            if self.field.kind in ("integer", "number"):
                yield Static(self.field.range_text, classes="param-range", markup=False)
        yield self._reason

    def on_mount(self) -> None:
        self._show_label()

    def sync(self, value: Any) -> None:
        """Show a value that came from elsewhere. What was typed and refused stays until another value is in force."""
        if self.invalid and (value == self._applied or self.editor.has_focus):
            return
        self._applied = value
        if value != self.value or self.invalid:
            self.put(value)

    def put(self, value: Any) -> None:
        """Show this value, whatever stands there."""
        self.value = value
        self._put(value)
        self.refuse("")
        self._show_label()

    def refuse(self, reason: str) -> None:
        """Show why the value is not taken; an empty reason ends that."""
        self.invalid = bool(reason)
        self._reason.display = bool(reason)
        self._reason.update(Content(visible(reason)))
        self.set_class(bool(reason), "-invalid")

    def step(self, steps: float) -> None:
        """Move a number by so many of its steps."""
        self._give(self.field.stepped(self.value, steps))
        self._put(self.value)

    def on_key(self, event: events.Key) -> None:
        steps = _KEYS_TO_STEPS.get(event.key)
        if steps is not None and self.field.kind in ("integer", "number"):
            self.step(steps)
            event.stop()
            event.prevent_default()

    @on(Slider.Moved)
    def _slid(self, event: Slider.Moved) -> None:
        event.stop()
        field = self.field
        assert field.minimum is not None
        assert field.maximum is not None
        self._give(field.nearest(field.minimum + event.share * (field.maximum - field.minimum)))
        self._put(self.value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value == self.field.show(self.value) and not self.invalid:
            return
        try:
            self._give(self.field.read(event.value))
        except ValueError as error:
            self.refuse(str(error))

    @on(Switch.Changed)
    def _switched(self, event: Switch.Changed) -> None:
        event.stop()
        self._give(event.value)

    @on(Select.Changed)
    def _chosen(self, event: Select.Changed) -> None:
        event.stop()
        self._give(None if event.value is Select.NULL else event.value)

    def _give(self, value: Any) -> None:
        self.refuse("")
        if value == self.value and type(value) is type(self.value):
            return
        self.value = value
        if self._slider is not None:
            self._slider.place(self._share(value))
        self._show_label()
        self.post_message(self.Changed(self.field.name, value))

    def _put(self, value: Any) -> None:
        """Show `value` in the editor without it counting as a change by the user."""
        with self.prevent(Input.Changed, Switch.Changed, Select.Changed):
            if isinstance(self.editor, Input):
                self.editor.value = self.field.show(value)
            elif isinstance(self.editor, Switch):
                self.editor.value = bool(value)
            elif isinstance(self.editor, Select):
                self.editor.value = Select.NULL if value not in self.field.choices else value
        if self._slider is not None:
            self._slider.place(self._share(value))

    def _share(self, value: Any) -> float:
        low, high = self.field.minimum, self.field.maximum
        if low is None or high is None or high <= low or not isinstance(value, (int, float)):
            return 0.0
        return (value - low) / (high - low)

    def _show_label(self) -> None:
        changed = self.field.has_default and self.value != self.field.default
        mark = ("• ", "$accent") if changed else "  "
        self._label.update(Content.assemble(mark, self.field.name), layout=False)

    def _make_editor(self) -> Widget:
        field = self.field
        if field.kind == "boolean":
            return Switch(bool(self.value), animate=False)
        if field.kind == "choice":
            options = [(str(choice), choice) for choice in field.choices]
            chosen = self.value if self.value in field.choices else Select.NULL
            return Select(options, value=chosen, allow_blank=field.nullable or chosen is Select.NULL, compact=True)
        classes = "number" if field.kind in ("integer", "number") else ""
        placeholder = "none" if field.nullable else ""
        return Input(field.show(self.value), placeholder=placeholder, compact=True, classes=classes)

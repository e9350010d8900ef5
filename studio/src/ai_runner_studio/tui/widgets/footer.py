"""StudioFooter: the keys of the moment; where they do not all fit, those that one needs least are left out."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Footer

_NEEDED_LEAST = (
    "toggle_theme",
    "command_palette",
    "preview_mode",
    "route",
    "keep_weights",
    "reload_whole",
    "error_detail",
    "open_input",
    "pause",
)


class StudioFooter(Footer):
    """Help and palette have every key, so none has to be cut in half here."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=True, compact=True)

    def compose(self) -> ComposeResult:
        keys = list(super().compose())
        self._fit(keys)
        yield from keys

    def on_resize(self) -> None:
        self._fit(list(self.children))

    def _fit(self, keys: list[Any]) -> None:
        width = sum(_width(key) for key in keys)
        by_action = {key.action.rpartition(".")[2]: key for key in keys}
        for key in keys:
            key.display = True
        for action in _NEEDED_LEAST:
            if width <= self.size.width or action not in by_action:
                continue
            by_action[action].display = False
            width -= _width(by_action[action])


def _width(key: Any) -> int:
    """Cells of a key with what it does, and the space after it."""
    return len(key.key_display) + 1 + len(key.description) + 1

"""SplitLine: one line of text, the left part shortened so that the right part always fits."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


class SplitLine(Widget):
    """One line: `left`, `more` of it, a gap, `right`. Redrawn only when it changes, and never laid out anew."""

    DEFAULT_CSS = """
    SplitLine { height: 1; width: 1fr; padding: 0 1; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.left = Content()
        self.more: tuple[Content, ...] = ()
        self.right = Content()

    def set(self, left: Content, right: Content | None = None, more: tuple[Content, ...] = ()) -> None:
        """Show this. `more`: parts that follow `left`, each of them shown whole or not at all."""
        right = Content() if right is None else right
        same = (left, more, right) == (self.left, self.more, self.right)
        if same and left.spans == self.left.spans:
            return
        self.left, self.more, self.right = left, more, right
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        right = self.right.truncate(width)
        room = max(0, width - right.cell_length - (2 if right else 0))
        left = self.left.truncate(room, ellipsis=True)
        for part in self.more:
            if part and left.cell_length + 2 + part.cell_length <= room:
                left = Content.assemble(left, "  ", part)
        return Content.assemble(left, " " * (width - left.cell_length - right.cell_length), right)

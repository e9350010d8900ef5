"""PatchRefused: why changed code cannot be put into the running process."""

from __future__ import annotations


class PatchRefused(Exception):
    """A change that the running process cannot take over soundly; a fresh process can.

    Attributes:
        reason: one short sentence for the screen.
        file: real and absolute, or empty.
        line: in the new text, or in the old one for what is gone; 0 where there is none.
    """

    def __init__(self, reason: str, file: str = "", line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.file = file
        self.line = line


class PatchBusy(PatchRefused):
    """Changed code is being executed right now, and would go on as it was: a moment later it may not be."""

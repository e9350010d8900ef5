"""PatchRefused: why a change cannot be put into the running process."""

from __future__ import annotations


class PatchRefused(Exception):
    """A change that needs a fresh process; the text says why, for the screen.

    Attributes:
        file: real and absolute, or empty.
        line: in the new text, or in the old one for what was removed; 0 if unknown.
    """

    def __init__(self, reason: str, file: str = "", line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.file = file
        self.line = line


class PatchBusy(PatchRefused):
    """Changed code is running right now and would finish as it was; it may have finished a moment later."""

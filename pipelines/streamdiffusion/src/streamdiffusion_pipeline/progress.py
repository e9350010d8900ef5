"""How far a download is, as lines of the log."""

from __future__ import annotations

import io
import logging
import time
from typing import Any

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0


class LoggedProgress(tqdm):  # type: ignore[misc]
    """A progress bar for huggingface_hub that writes a line every few seconds instead of drawing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.pop("name", None)  # huggingface_hub's own group of bars
        self._told_s = time.monotonic()
        super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # noqa: ARG002
        """Called by tqdm whenever it would draw."""
        now = time.monotonic()
        if self.unit == "B" and self.n and now - self._told_s >= INTERVAL_S:
            self._told_s = now
            logger.info("%s", str(self))  # as it is now, whenever the line is written
        return True

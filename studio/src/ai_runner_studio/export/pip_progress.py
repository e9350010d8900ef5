"""PipProgress: what pip is doing while it works, in a line now and then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

EVERY_S = 5.0
LARGE = 50  # MB: what takes long to download

_COLLECTING = re.compile(r"Collecting ([\w.-]+)")
_DOWNLOADING = re.compile(r"Downloading (?:\S*/)?(\S+) \(((\S+) ([MG])B)\)")
_RETRYING = re.compile(r"Retrying \(Retry\(total=(\d+)")


class PipProgress:
    """Reports a package that pip has come to, at most once in `EVERY_S`, and at once what takes long."""

    def __init__(self, tell: Callable[[str], None], packages: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`packages`: how many pip looks for."""
        self._tell = tell
        self._packages = packages
        self._clock = clock
        self._told_at = clock()
        self._seen = 0

    def read(self, line: str) -> None:
        """Take in a line of pip's output."""
        if found := _RETRYING.search(line):
            left = int(found[1]) + 1
            self._say(
                f"the package index is not responding; trying again ({left} {'try' if left == 1 else 'tries'} left)"
            )
        elif found := _DOWNLOADING.search(line):
            if found[4] == "G" or float(found[3]) >= LARGE:
                self._say(f"downloading {found[1]} ({found[2]})")
        elif found := _COLLECTING.search(line):
            self._seen += 1
            if self._clock() - self._told_at >= EVERY_S:
                self._say(f"asking the package index: {self._seen} of {self._packages} packages, {found[1]}")

    def _say(self, text: str) -> None:
        self._told_at = self._clock()
        self._tell(text)

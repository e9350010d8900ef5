"""Why the system refuses to report changes, in words, with the way out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

INOTIFY = Path("/proc/sys/fs/inotify")
ENOUGH = {"max_user_watches": 524_288, "max_user_instances": 1_024}


def why_not_watched(error: Exception) -> str:
    """What stands behind an error of the watch: a limit and how to raise it, else the error's own words."""
    text = str(error)
    # The library gives an errno for some ways to fail and only words for others.
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOSPC or "file watch limit" in text:
        return _limit("max_user_watches", "watches")
    if code == errno.EMFILE or f"os error {errno.EMFILE}" in text:
        most = _most_open_files()
        if most is not None and _open_files() >= most - 3:
            return (
                f"the studio may have no more than {most} files open: ulimit -n {most * 4} before its start allows more"
            )
        return _limit("max_user_instances", "instances")
    return text


def _limit(name: str, what: str) -> str:
    try:
        now = int((INOTIFY / name).read_text())
    except (OSError, ValueError):
        now = 0
    at = f", {now}," if now else ""
    more = max(ENOUGH[name], 2 * now)
    return f"the limit of inotify {what}{at} is reached: sudo sysctl fs.inotify.{name}={more} raises it"


def _most_open_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _open_files() -> int:
    """The number that the next open file would get, which is what the limit is of."""
    try:
        lowest_free = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return _most_open_files() or 0
    os.close(lowest_free)
    return lowest_free

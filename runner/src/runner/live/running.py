"""Whether a process still runs, by its number alone: for what was left behind under that number."""

from __future__ import annotations

import os


def is_running(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Standard streams of a command that was started without them, as cron, daemons and `>&-` do."""

from __future__ import annotations

import os
import sys

_MODES = ("r", "w", "w")


def open_closed_streams() -> None:
    """Connect closed standard streams to the null device.

    Call it before anything is opened: a socket or file that gets descriptor 1 or 2 receives what libraries print.
    """
    for descriptor, (name, mode) in enumerate(zip(("stdin", "stdout", "stderr"), _MODES, strict=True)):
        if _is_closed(descriptor):
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False

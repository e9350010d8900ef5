"""Runs one command and sees to it that nothing of it outlives whoever asked for it.

    python keeper.py COMMAND [ARGUMENT ...]

The command gets a process group of its own. When standard input ends (whoever started the keeper is gone, however
violently, or has closed it) or SIGTERM comes, the group is asked to end, and after a while made to. What the command
itself leaves running is ended with it. The keeper's exit code is the command's, 128 + the signal where it was killed.

The standard library only: it starts in an instant, and needs nothing to be installed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_S = 3.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """See the module's text."""
    wake, waker = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(waker, b"t"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is for whoever started the keeper
    command = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_keeper if sys.platform == "linux" else None,
    )
    ended = threading.Event()

    def watch() -> None:
        # Not reaped yet: its number, which is that of the group, stays taken until the group is gone.
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
        ended.set()
        os.write(waker, b"e")

    threading.Thread(target=watch, daemon=True).start()
    select.select([wake, 0], [], [])
    _signal_group(command.pid, signal.SIGTERM)
    ended.wait(GRACE_S)
    _signal_group(command.pid, signal.SIGKILL)
    code = command.wait()
    return code if code >= 0 else 128 - code


def _die_with_keeper() -> None:
    """In the new process: have the kernel kill it if the keeper itself is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())

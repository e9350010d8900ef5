"""ProcessExit: how a pipeline process ended."""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a pipeline process ended.

    Attributes:
        code: exit code; negative for a signal.
        reason: in words: "exited with code 3", "was killed by SIGSEGV", "was stopped".
        logs: its last lines.
    """

    code: int
    reason: str
    logs: tuple[str, ...] = ()

    @property
    def is_crash(self) -> bool:
        """Whether it ended by what it did itself, hanging included, and not by a kill from outside."""
        return self.code != -signal.SIGKILL or self.reason != describe_exit(self.code)


def describe_exit(code: int) -> str:
    """An exit code in words, e.g. "was killed by SIGKILL (out of memory?)"."""
    if code >= 0:
        return f"exited with code {code}{_limit() if code else ''}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    guess = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in native code)"}.get(name, "")
    return f"was killed by {name}{_limit() or guess}"


def _limit() -> str:
    """Name the limit of the address space, inherited by each process; libraries that hit it abort in many ways."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f" (its address space is limited to {limit >> 20} MiB by RLIMIT_AS; raise it with ulimit -v)"

"""RestartPolicy: how a guardian answers failures; one object says all that differs between production and studio.

ReloadOptions: how it replaces code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What to do when the pipeline process fails.

    Attributes:
        max_restarts: how often a process that failed is started again by itself; then ERROR stays.
        count_per_revision: a replacement that was asked for (a save) begins the count anew.
        stop_stream_on_error: end the running stream when the state becomes ERROR.
        reset_when_offline: re-apply the initial params when a stream is over.
        retry_without_params: a first load that fails with params is tried once more without them.
        backoff_s: waited before the first restart of a row; doubles with each.
        load_timeout_s: how long a pipeline may take to initialize.
        first_frame_timeout_s: how long a replacement may take for its first output before it is given up.
    """

    max_restarts: int
    count_per_revision: bool
    stop_stream_on_error: bool
    reset_when_offline: bool
    retry_without_params: bool
    backoff_s: float = 0.0
    load_timeout_s: float = 180.0
    first_frame_timeout_s: float = 30.0


# Contract part 6: at most three restarts, then the orchestrator replaces the container.
PRODUCTION = RestartPolicy(
    max_restarts=3,
    count_per_revision=False,
    stop_stream_on_error=True,
    reset_when_offline=True,
    retry_without_params=True,
)

# As often as the developer saves; the picture stays, and so do the params.
STUDIO = RestartPolicy(
    max_restarts=3,
    count_per_revision=True,
    stop_stream_on_error=False,
    reset_when_offline=False,
    retry_without_params=False,
    backoff_s=0.5,
)

REVISIONS_KEPT = 50  # good ones that can be gone back to


@dataclass(frozen=True, slots=True)
class ReloadOptions:
    """How a guardian reloads.

    Attributes:
        keep_weights: first try to put changed code into the running process.
        trusted: functions, as ``module:Class.method``, whose changes need no proof there.
        standby: keep a process ready that has done the third-party imports.
        standby_min_free_bytes: RAM that must stay free for a standby to be kept.
        replace: whether the old process serves until the new one is proven ("overlap"), ends first
            ("hand-over"), or what the free memory says ("auto").
        snapshots: folder for the sources of what was loaded; None keeps none, and nothing can be gone back to.
    """

    keep_weights: bool = False
    trusted: tuple[str, ...] = ()
    standby: bool = False
    standby_min_free_bytes: int = 1 << 30
    replace: Literal["auto", "overlap", "hand-over"] = "auto"
    snapshots: Path | None = None


# In production: nothing is kept ready, and nothing of what was.
PLAIN_RELOADS = ReloadOptions()

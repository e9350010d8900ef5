"""RestartPolicy: how a guardian answers failures; one object says all that differs between production and studio."""

from __future__ import annotations

from dataclasses import dataclass


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

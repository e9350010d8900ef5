"""The state machine of the Livepeer runner (contract part 6), as one pure function.

Rules and thresholds are the network's: orchestrators act on these states.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PipelineState(str, Enum):
    """What the guardian reports.

    LOADING: the pipeline is not ready. ONLINE: all is well. DEGRADED_INPUT: frames come late or
    slowly. DEGRADED_INFERENCE: outputs do. ERROR: it has to be restarted. OFFLINE: no stream.
    """

    LOADING = "LOADING"
    ONLINE = "ONLINE"
    DEGRADED_INPUT = "DEGRADED_INPUT"
    DEGRADED_INFERENCE = "DEGRADED_INFERENCE"
    ERROR = "ERROR"
    OFFLINE = "OFFLINE"


LOAD_LIMIT_S = 180.0
OFFLINE_AFTER_S = 3.0
STOP_STREAM_AFTER_S = 60.0
NO_INPUT_ERROR_S = 90.0
FIRST_OUTPUT_LIMIT_S = 10.0
FIRST_OUTPUT_LIMITS_S = {"comfyui": 30.0}  # by pipeline name
LOAD_SLACK_S = 2.0  # subtracted from the time since the latest load


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at; durations in seconds up to now.

    Attributes:
        since_input_s: since the last input frame, or since stream or process start if none came.
        since_output_s: since the last real output (loading pictures do not count), inf if none.
        since_load_s: since the latest of params update, pipeline ready and start.
        since_error_s, since_restart_s: inf if there was none.
    """

    previous: PipelineState
    pipeline: str
    process_alive: bool
    pipeline_ready: bool
    stream_running: bool
    ever_input: bool
    since_input_s: float
    since_output_s: float
    since_load_s: float
    input_fps: float
    output_fps: float
    since_error_s: float = float("inf")
    since_restart_s: float = float("inf")


def compute_state(facts: Facts) -> PipelineState:
    """The state that follows from the facts; the first rule that matches wins."""
    load_s = max(0.0, facts.since_load_s - LOAD_SLACK_S)
    if facts.previous is PipelineState.ERROR or not facts.process_alive:
        return PipelineState.ERROR
    if not facts.pipeline_ready:
        return PipelineState.ERROR if load_s > LOAD_LIMIT_S else PipelineState.LOADING
    if not facts.stream_running:
        offline = facts.since_input_s > OFFLINE_AFTER_S or not facts.ever_input
        return PipelineState.OFFLINE if offline else PipelineState.DEGRADED_INPUT
    if facts.since_input_s > STOP_STREAM_AFTER_S:
        late = facts.since_input_s >= NO_INPUT_ERROR_S
        return PipelineState.ERROR if late else PipelineState.DEGRADED_INPUT
    if facts.since_output_s >= load_s:
        return _without_output(facts, load_s)
    return _with_output(facts)


def _without_output(facts: Facts, load_s: float) -> PipelineState:
    """Nothing has come out since the pipeline was (re)loaded."""
    limit_s = FIRST_OUTPUT_LIMITS_S.get(facts.pipeline, FIRST_OUTPUT_LIMIT_S)
    if load_s < LOAD_SLACK_S:
        return PipelineState.ONLINE
    if facts.since_input_s > load_s:
        return PipelineState.DEGRADED_INPUT
    return PipelineState.DEGRADED_INFERENCE if load_s < limit_s else PipelineState.ERROR


def _with_output(facts: Facts) -> PipelineState:
    if facts.since_output_s > facts.since_input_s + 1.0 and facts.since_output_s > 5.0:
        return PipelineState.ERROR
    if facts.since_error_s < 15.0 or facts.since_restart_s < 60.0:
        return PipelineState.DEGRADED_INFERENCE
    if facts.since_input_s > 2.0 or facts.input_fps < 15.0:
        return PipelineState.DEGRADED_INPUT
    if facts.since_output_s > 2.0 or facts.output_fps < min(10.0, 0.8 * facts.input_fps):
        return PipelineState.DEGRADED_INFERENCE
    return PipelineState.ONLINE

"""The state machine's table, rule by rule (contract part 6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.live.process.state import Facts, PipelineState, compute_state

HEALTHY = Facts(
    previous=PipelineState.ONLINE,
    pipeline="noop",
    process_alive=True,
    pipeline_ready=True,
    stream_running=True,
    ever_input=True,
    since_input_s=0.02,
    since_output_s=0.03,
    since_load_s=60.0,
    input_fps=30.0,
    output_fps=30.0,
)
NEVER = float("inf")


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "ONLINE"),
        # 1, 2: errors stay; no process is one
        ({"previous": PipelineState.ERROR}, "ERROR"),
        ({"process_alive": False, "pipeline_ready": False}, "ERROR"),
        # 3: loading, for 180 s (and 2 s of slack) at most
        ({"pipeline_ready": False, "since_load_s": 181.9}, "LOADING"),
        ({"pipeline_ready": False, "since_load_s": 182.1}, "ERROR"),
        # 4: no stream
        ({"stream_running": False, "since_input_s": 2.9}, "DEGRADED_INPUT"),
        ({"stream_running": False, "since_input_s": 3.1}, "OFFLINE"),
        ({"stream_running": False, "since_input_s": 1.0, "ever_input": False}, "OFFLINE"),
        # 5: the input has gone
        ({"since_input_s": 61.0, "since_output_s": 61.0}, "DEGRADED_INPUT"),
        ({"since_input_s": 90.0, "since_output_s": 90.0}, "ERROR"),
        # 6: nothing has come out since the load
        ({"since_output_s": NEVER, "since_load_s": 3.9}, "ONLINE"),
        ({"since_output_s": NEVER, "since_load_s": 5.0, "since_input_s": 3.5}, "DEGRADED_INPUT"),
        ({"since_output_s": NEVER, "since_load_s": 11.9}, "DEGRADED_INFERENCE"),
        ({"since_output_s": NEVER, "since_load_s": 12.1}, "ERROR"),
        ({"since_output_s": NEVER, "since_load_s": 31.9, "pipeline": "comfyui"}, "DEGRADED_INFERENCE"),
        ({"since_output_s": NEVER, "since_load_s": 32.1, "pipeline": "comfyui"}, "ERROR"),
        # 7: output stopped while input goes on
        ({"since_output_s": 5.1}, "ERROR"),
        ({"since_output_s": 5.1, "since_input_s": 4.5}, "DEGRADED_INPUT"),
        # 8: an error or a restart is not long ago
        ({"since_error_s": 14.9}, "DEGRADED_INFERENCE"),
        ({"since_error_s": 15.1}, "ONLINE"),
        ({"since_restart_s": 59.9}, "DEGRADED_INFERENCE"),
        # 9: input late or slow
        ({"since_input_s": 2.1, "since_output_s": 2.2}, "DEGRADED_INPUT"),
        ({"input_fps": 14.9, "output_fps": 14.9}, "DEGRADED_INPUT"),
        # 10: output late or slow: below min(10, 0.8 x input)
        ({"since_output_s": 2.1, "since_input_s": 1.9}, "DEGRADED_INFERENCE"),
        ({"output_fps": 9.9}, "DEGRADED_INFERENCE"),
        ({"output_fps": 10.1}, "ONLINE"),
    ],
)
def test_rule(changed: dict[str, object], state: str) -> None:
    assert compute_state(replace(HEALTHY, **changed)) == state  # type: ignore[arg-type]

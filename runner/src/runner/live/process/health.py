"""Health: what has happened to a pipeline lately, as the state machine and `/api/status` want it."""

from __future__ import annotations

import time
from typing import Any

from ..log import mask
from .outputs import FrameRate
from .state import Facts, PipelineState
from .status import MediaStatus, PipelineStatus, now_ms, params_hash

_NEVER = float("-inf")


class Health:
    """Takes notes as things happen.

    Attributes:
        state: as it was last set; `set_state` returns what it was before.
        restarts: of the process, so far.
        media: of the running stream of the network, None without one.
    """

    def __init__(self, pipeline: str) -> None:
        self.state = PipelineState.LOADING
        self.restarts = 0
        self.media: MediaStatus | None = None
        self._pipeline = pipeline
        self._status = PipelineStatus(pipeline=pipeline, start_time=now_ms())
        self._began_at = self._loaded_at = self._stream_at = time.monotonic()
        self._error_at = self._restart_at = _NEVER

    def set_state(self, state: PipelineState) -> PipelineState:
        """The state from now on; returns the one before."""
        before, self.state = self.state, state
        if state is not before:
            self._status.last_state_update_time = now_ms()
        return before

    def loaded(self) -> None:
        """The pipeline is ready, or has taken params that it may need time for."""
        self._loaded_at = time.monotonic()

    def stream_began(self) -> None:
        """A stream has begun, or goes on after a pause."""
        self._stream_at = time.monotonic()

    def params_taken(self, params: dict[str, Any]) -> None:
        """The pipeline has taken these. They are reported as they were sent, so that a sender finds its own hash."""
        inference = self._status.inference_status
        inference.last_params_update_time = now_ms()
        inference.last_params = params
        inference.last_params_hash = params_hash(params)
        self.loaded()

    def failed(self, message: str) -> None:
        """An error of the pipeline or its process."""
        self._error_at = time.monotonic()
        self._status.inference_status.last_error = mask(message)
        self._status.inference_status.last_error_time = now_ms()

    def restarted(self, logs: tuple[str, ...]) -> None:
        """The process is started again after a failure; `logs` are its last lines."""
        self.restarts += 1
        self._restart_at = time.monotonic()
        inference = self._status.inference_status
        inference.restart_count = self.restarts
        inference.last_restart_time = now_ms()
        inference.last_restart_logs = [mask(line) for line in logs]

    @property
    def since_load_s(self) -> float:
        """Seconds since `loaded`."""
        return time.monotonic() - self._loaded_at

    def facts(self, inputs: FrameRate, outputs: FrameRate, *, alive: bool, ready: bool, streaming: bool) -> Facts:
        """What the rules look at, now."""
        now = time.monotonic()
        # A frame from before the stream (or from before a pause) says nothing of it.
        last_input = max(inputs.last or self._began_at, self._stream_at)
        return Facts(
            previous=self.state,
            pipeline=self._pipeline,
            process_alive=alive,
            pipeline_ready=ready,
            stream_running=streaming,
            ever_input=inputs.last is not None,
            since_input_s=now - last_input,
            since_output_s=now - outputs.last if outputs.last else float("inf"),
            since_load_s=now - max(self._loaded_at, self._stream_at),
            input_fps=inputs.fps,
            output_fps=outputs.fps,
            since_error_s=now - self._error_at,
            since_restart_s=now - self._restart_at,
        )

    def status(self, inputs: FrameRate, outputs: FrameRate) -> PipelineStatus:
        """What `/api/status` answers."""
        status = self._status.model_copy(deep=True)
        status.state = self.state
        status.media = self.media
        status.input_status.fps = round(inputs.fps, 2)
        status.inference_status.fps = round(outputs.fps, 2)
        to_epoch_s = time.time() - time.monotonic()
        if inputs.last:
            status.input_status.last_input_time = int((inputs.last + to_epoch_s) * 1000)
        if outputs.last:
            status.inference_status.last_output_time = int((outputs.last + to_epoch_s) * 1000)
        return status

"""PipelineStatus: what `/api/status` answers, field by field as the network knows it (contract 5.2)."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from ..log import mask
from .state import PipelineState

EVENTS_QUEUE = "ai_stream_events"


def now_ms() -> int:
    """Milliseconds since the epoch, the unit of every time in a status."""
    return int(time.time() * 1000)


def params_hash(params: dict[str, Any]) -> str:
    """Hex MD5 of the params as JSON with sorted keys and Python's default separators."""
    return hashlib.md5(json.dumps(params, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def error_event(pipeline: str, message: str, at_s: float | None = None) -> dict[str, Any]:
    """An error for the events channel; `at_s`: when it was, in seconds since the epoch, by default now."""
    return {"type": "error", "pipeline": pipeline, "message": mask(message), "time": at_s or time.time()}


def last_event(pipeline: str, reason: str) -> dict[str, Any]:
    """A message for the events channel of a stream that nobody else can end: why it has ended."""
    event = {**error_event(pipeline, f"stream ended: {reason}"), "timestamp": now_ms()}
    return {"event": event, "queue_event_type": EVENTS_QUEUE}


class InputStatus(BaseModel):
    """Frames in: when the last one came (ms), and how many per second."""

    last_input_time: int | None = None
    fps: float = 0.0


class InferenceStatus(BaseModel):
    """Frames out, params, errors and restarts; times in ms."""

    last_output_time: int | None = None
    fps: float = 0.0
    last_params_update_time: int | None = None
    last_params: dict[str, Any] | None = None
    last_params_hash: str | None = None
    last_error_time: int | None = None
    last_error: str | None = None
    last_restart_time: int | None = None
    last_restart_logs: list[str] | None = None
    restart_count: int = 0


class MediaStatus(BaseModel):
    """What decodes and encodes a stream of the network, and how many pictures per second it lets in (None: all)."""

    decoder: str = ""
    encoder: str = ""
    max_fps: float | None = None


class PipelineStatus(BaseModel):
    """The guardian's report. `media` is there only while a stream of the network runs."""

    type: Literal["status"] = "status"
    pipeline: str
    start_time: int
    state: PipelineState = PipelineState.LOADING
    last_state_update_time: int | None = None
    input_status: InputStatus = InputStatus()
    inference_status: InferenceStatus = InferenceStatus()
    media: MediaStatus | None = None

    @model_serializer(mode="wrap")
    def _without_media(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The network knows no such field: it is left out where it says nothing."""
        fields: dict[str, Any] = serialize(self)
        if fields["media"] is None:
            del fields["media"]
        return fields

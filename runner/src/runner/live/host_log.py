"""What a production host logs of its pipeline: there, nobody looks at a screen."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .events import (
    Event,
    InputDamaged,
    LoadFailed,
    LoadSucceeded,
    LogWritten,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    StateChanged,
    StreamEnded,
    StreamStarted,
)

if TYPE_CHECKING:
    from .report import ErrorReport

logger = logging.getLogger("pipeline")


def log_event(event: Event) -> None:
    """Log what an operator wants to know: lines of the pipeline, loads, failures, states, streams."""
    match event:
        case LogWritten(level=level, source=source, message=message):
            logging.getLogger(f"pipeline.{source}").log(getattr(logging, level, logging.INFO), "%s", message)
        case LoadSucceeded(revision=revision, total_s=total_s, device=device):
            logger.info("load %d serves on %s after %.1f s%s", revision, device, total_s, _loss(event))
        case LoadFailed(report=report):
            logger.error("the pipeline could not be loaded: %s%s", report.headline, _below(report))
        case PipelineFailed(report=report, count=count):
            times = f" ({count} times)" if count > 1 else ""
            logger.error("%s%s%s", report.headline_with_hint, times, _below(report))
        case PipelineWarned(message=message) | InputDamaged(message=message):
            logger.warning("%s", message)
        case ProcessExited(reason=reason, restarting=restarting):
            logger.error(
                "the process %s; %s", reason, "it is started again" if restarting else "that was the last time"
            )
        case StateChanged(state=state, previous=previous):
            logger.info("%s, was %s", state, previous)
        case StreamStarted(source=source):
            logger.info("stream of %s has begun", source)
        case StreamEnded(error=error, frames_in=frames_in, frames_out=frames_out):
            why = f": {error}" if error else ""
            logger.info("stream is over, %d frames in, %d out%s", frames_in, frames_out, why)


def _loss(event: LoadSucceeded) -> str:
    """Frames and time that a reload has cost; nothing where no stream was running."""
    if event.output_gap_s is None:
        return ""
    return f"; {event.frames_lost} frames lost, output gap {event.output_gap_s * 1000:.0f} ms"


def _below(report: ErrorReport) -> str:
    """The traceback, where a place in the user's code is to blame; a wrong import path has none."""
    return f"\n{report.traceback.rstrip()}" if report.file and report.traceback else ""

"""Log records of a pipeline process, on their way to the host."""

from __future__ import annotations

import logging
import time

from ..plain_json import bounded_text, plain_text
from .channel import ChildChannel
from .line_limit import LineLimit, dropped_text
from .messages import LogLine

RECORD_LIMIT = 8192  # characters; longer records go in pieces
_NAME_LIMIT = 200
_SOURCE = "runner"


class LogSender(logging.Handler):
    """Sends log records to the host, at a bounded rate: frames go over the same socket."""

    def __init__(self, channel: ChildChannel) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))  # level, name and time travel as fields
        self._limit: LineLimit[LogLine] = LineLimit(
            channel.send, lambda count: channel.send(_note(dropped_text(count)))
        )

    def flush(self) -> None:
        """Send what is held back. To be called every second or so, and at the end."""
        self._limit.flush()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = _lines(record, self.format(record))
        except Exception:
            self.handleError(record)
            return
        self._limit.add(lines)


def _lines(record: logging.LogRecord, message: str) -> list[LogLine]:
    """The record, in pieces where it is long: each counts as a line for the limit."""
    level, name = plain_text(record.levelname), bounded_text(record.name, _NAME_LIMIT)
    report = bool(getattr(record, "report_error", False))
    return [
        LogLine(level, name, plain_text(message[start : start + RECORD_LIMIT]), float(record.created), report)
        for start in range(0, max(1, len(message)), RECORD_LIMIT)
    ]


def _note(text: str) -> LogLine:
    return LogLine("WARNING", _SOURCE, text, time.time())


def send_logs(channel: ChildChannel, verbose: bool) -> LogSender:
    """Have the root logger send its records to the host, by the handler that is returned."""
    sender = LogSender(channel)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[sender], force=True)
    logging.captureWarnings(True)
    for noisy in ("asyncio", "PIL", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.INFO)
    return sender

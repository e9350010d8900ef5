"""Structured logs: one line per record, as text or as JSON, with the stream's ids and without secrets.

`LOG_FORMAT=json` writes JSON lines, anything else text; `VERBOSE_LOGGING=1` lets debug records through. The
fields of a JSON line: ``at`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, and where they are known
``request_id``, ``manifest_id``, ``stream_id`` and ``exception``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Literal, TextIO

from .plain_json import bounded_text, visible
from .trickle.address import shown

Format = Literal["text", "json"]

FORMAT_ENV = "LOG_FORMAT"
VERBOSE_ENV = "VERBOSE_LOGGING"
AUTH_TOKEN_ENV = "AUTH_TOKEN"
LINES_WAITING = 10_000  # for a reader of the log that does not read; what comes after is counted and left out
RECORD_LIMIT = 100_000  # characters of a message or traceback; the middle of a longer one is omitted
_LAST_LINES_LIMIT_S = 1.0

_HIDDEN = "***"
_SHORTEST_TOKEN = 3  # characters: to hide each "a" would make a log unreadable
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'<>\\,;|)}\]]+")
_SECRET_URL = re.compile(r"[@?]|trickle|(?=[0-9]*[a-f])[0-9a-f]{16}")
_CREDENTIALS = re.compile(r"\b(bearer|basic)\s+(?!token\b)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:authorization|livepeer-session-token|auth_token|access_token|api_key|password|secret)"
    r"[\"']?\s*[:=]\s*[\"']?)(?!bearer\b|basic\b|\*)[^\s\"',;}&]+",
    re.IGNORECASE,
)
# Names of channels are what protects them. A number alone is more likely a time in nanoseconds.
_HEX = re.compile(r"\b(?=[0-9]*[a-fA-F])([0-9a-fA-F]{4})[0-9a-fA-F]{12,}")


@dataclass(frozen=True, slots=True)
class StreamIds:
    """What the network calls a stream; empty where it is not told."""

    request_id: str = ""
    manifest_id: str = ""
    stream_id: str = ""


_running = StreamIds()
_asked: ContextVar[StreamIds | None] = ContextVar("stream_ids", default=None)


def stream_ids(request_id: str = "", manifest_id: str = "", stream_id: str = "") -> None:
    """From now on every record of this process has these ids; without arguments, none."""
    global _running
    _running = StreamIds(request_id, manifest_id, stream_id)


@contextlib.contextmanager
def request_ids(request_id: str = "", manifest_id: str = "", stream_id: str = "") -> Iterator[None]:
    """The records of this task have these ids for as long as it is open, whatever stream runs."""
    token = _asked.set(StreamIds(request_id, manifest_id, stream_id))
    try:
        yield
    finally:
        _asked.reset(token)


def configure(
    verbose: bool | None = None, fmt: Format | None = None, stream: TextIO | LineWriter | None = None
) -> None:
    """Set up the root logger of this process; may be called again.

    Args:
        verbose: debug records too; by default what `VERBOSE_LOGGING` says.
        fmt: by default what `LOG_FORMAT` says.
        stream: where lines go; by default standard error.
    """
    if verbose is None:
        verbose = os.environ.get(VERBOSE_ENV) == "1"
    if fmt is None:
        fmt = "json" if os.environ.get(FORMAT_ENV, "").strip().lower() == "json" else "text"
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if fmt == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    # Each byte that these move would be a record of its own.
    for name in ("aiohttp.access", "asyncio", "httpcore", "multipart", "websockets"):
        logging.getLogger(name).setLevel(logging.INFO)


def mask(text: str) -> str:
    """The text without secrets: tokens, credentials and queries of URLs, the middle of long hexadecimal names."""
    token = os.environ.get(AUTH_TOKEN_ENV, "")
    if len(token) >= _SHORTEST_TOKEN:
        text = text.replace(token, _HIDDEN)
    text = _URL.sub(_shown, text)
    text = _CREDENTIALS.sub(rf"\1 {_HIDDEN}", text)
    text = _NAMED.sub(rf"\1{_HIDDEN}", text)
    return _HEX.sub(r"\1…", text)


def _shown(url: re.Match[str]) -> str:
    return shown(url[0]) if _SECRET_URL.search(url[0]) else url[0]


class TextFormatter(logging.Formatter):
    """``at level logger: message [request_id=… …]``, and the traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _ids().items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")

    def format(self, record: logging.LogRecord) -> str:
        return mask(visible(bounded_text(super().format(record), RECORD_LIMIT)))


class JsonFormatter(logging.Formatter):
    """One JSON object per record; see the module's text for its fields."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask(bounded_text(record.getMessage(), RECORD_LIMIT)),
            **{name: mask(value) for name, value in _ids().items()},
        }
        if record.exc_info:
            fields["exception"] = mask(bounded_text(self.formatException(record.exc_info), RECORD_LIMIT))
        return json.dumps(fields, ensure_ascii=False)


def _ids() -> dict[str, str]:
    ids = _asked.get() or _running
    return {name: value for name, value in asdict(ids).items() if value}


class LineWriter:
    """Writes lines in a thread of its own: a reader that has stopped reading does not hold the writer up.

    It writes past `sys.stderr`, whose lock would be held by a thread that waits for such a reader.
    """

    def __init__(self, descriptor: int = 2) -> None:
        """`descriptor`: a file descriptor, by default that of standard error; it stays open."""
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING)
        self._lock = threading.Lock()
        self._dropped = 0  # lines since the newest note of them
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Write this soon, or count it as dropped: a note before the next line that fits says how many. Any thread."""
        with self._lock:
            try:
                self._lines.put_nowait(self._note() + text)
                self._dropped = 0
            except queue.Full:
                self._dropped += 1
        return len(text)

    def write_line(self, line: str) -> None:
        """Write this and a line's end; see `write`."""
        self.write(f"{line}\n")

    def flush(self) -> None:
        """Nothing to do: whoever waits for a slow reader is what this is there to avoid."""

    def close(self) -> None:
        """Write what waits, for a second at most."""
        until = time.monotonic() + _LAST_LINES_LIMIT_S
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_LAST_LINES_LIMIT_S)
        self._thread.join(max(0.0, until - time.monotonic()))

    def _note(self) -> str:
        if not self._dropped:
            return ""
        lines = "line" if self._dropped == 1 else "lines"
        return f"({self._dropped} {lines} dropped: the log was not read)\n"

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            self._write(text)
        self._write(self._note())

    def _write(self, text: str) -> None:
        left = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # nobody is there any more
            while left:
                left = left[os.write(self._descriptor, left) :]

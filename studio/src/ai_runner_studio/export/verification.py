"""Verification: what was seen of an image that ran, beside what the same pipeline does on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

_ERROR = re.compile(
    r"\b(ERROR|CRITICAL|FATAL)\b|^(error|fatal): |^Fatal Python error"
    r"|Segmentation fault|^terminate called|exec format error"
)
_EXCEPTION = re.compile(r"\b\w+(Error|Exception)\b")
_FAREWELL = re.compile(r"shutting down|SIGTERM")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that an orchestrator relies on. `said`: what was seen, in words, with its figures."""

    name: str
    ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a runner does in time. Fields are None where it did not come so far.

    Attributes:
        answers_s, healthy_s: from the start to the first answer on ``/health``, and to IDLE.
        stream_start_s: of the start request. first_picture_s: from its answer to the first picture.
        sent, returned: pictures of the clip. latency_ms: p50 and p95, encoding and transport both ways included.
        stop_s: from SIGTERM to the end.
    """

    answers_s: float | None = None
    healthy_s: float | None = None
    stream_start_s: float | None = None
    first_picture_s: float | None = None
    sent: int = 0
    returned: int = 0
    fps: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class LayerSize:
    """How large one layer is, unpacked."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The whole of it.

    Attributes:
        checks: in the order in which they were made; one that could not be made any more is not there.
        layers: the base's first.
        difference: median difference of the pictures to the local run's, of their range; None without both.
        log: the last lines of the container, kept where a check failed.
    """

    image: str
    tags: tuple[str, ...]
    runtime: str
    source: str
    checks: tuple[Check, ...]
    container: Figures
    local: Figures
    size_bytes: int
    layers: tuple[LayerSize, ...]
    difference: float | None = None
    log: tuple[str, ...] = ()
    schema_version: Literal[1] = 1

    @property
    def ok(self) -> bool:
        """Whether every check was passed."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """Those that were not."""
        return [check for check in self.checks if not check.ok]

    def to_json(self) -> str:
        """As text, with a line end."""
        return json.dumps(asdict(self) | {"ok": self.ok}, indent=2) + "\n"

    def table(self) -> str:
        """For people."""
        lines = [f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<11} {check.said}" for check in self.checks]
        lines += ["", f"{'':<24}{'image':>12}{'here':>12}"]
        lines += [f"{name:<24}{ours:>12}{local:>12}" for name, ours, local in self._rows()]
        lines += ["", f"{'layer':<24}{'size':>12}"]
        lines += [f"{layer.name:<24}{_size(layer.size_bytes):>12}" for layer in self.layers]
        lines += [f"{'in all':<24}{_size(self.size_bytes):>12}"]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str, str]]:
        def row(name: str, ours: float | None, local: float | None, unit: str) -> tuple[str, str, str]:
            return name, _figure(ours, unit), _figure(local, unit)

        one, two = self.container, self.local
        return [
            row("first answer", one.answers_s, two.answers_s, "s"),
            row("cold start to healthy", one.healthy_s, two.healthy_s, "s"),
            row("start of a stream", one.stream_start_s, two.stream_start_s, "s"),
            row("first picture", one.first_picture_s, two.first_picture_s, "s"),
            ("pictures sent", str(one.sent), str(two.sent)),
            ("pictures returned", str(one.returned), str(two.returned)),
            row("fps", one.fps, two.fps, ""),
            row("latency p50", one.latency_ms.get("p50"), two.latency_ms.get("p50"), "ms"),
            row("latency p95", one.latency_ms.get("p95"), two.latency_ms.get("p95"), "ms"),
            row("end after SIGTERM", one.stop_s, two.stop_s, "s"),
        ]


def cause_of(log: Sequence[str]) -> str:
    """Return the line of a runner's log that says why it failed; the last line where none does, "" without lines.

    What it logs once it was stopped is a consequence, and counts only where nothing was wrong before.
    """
    stopped = max((number for number, line in enumerate(log) if _FAREWELL.search(line)), default=len(log))
    for part in (log[:stopped], log):
        errors = [line for line in part if _ERROR.search(line)]
        named = [line for line in errors if _EXCEPTION.search(line)]
        for found in (named, _raised(part), errors):
            if found:
                return found[-1].strip()
    return log[-1].strip() if log else ""


def _raised(log: Sequence[str]) -> list[str]:
    """Return the lines that end tracebacks."""
    found = []
    inside = False
    for line in log:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line.strip() and not line[0].isspace():
            found.append(line)
            inside = False
    return found


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}".rstrip()


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"

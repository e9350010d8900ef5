"""ProbeReport: what a probe of a runner saw; plain data, which travels as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

GRID = 16  # pictures are told as the mean colours of so many fields each way


@dataclass
class ProbeReport:
    """What was seen. Times with `_at` are seconds since the epoch; fields are None for what was not reached.

    Attributes:
        health: each word that differs from the one before, with when it was told.
        answers_at, healthy_at: first answer that is no error; first IDLE.
        listens_on_all: whether the port is open on other addresses than loopback; None where nobody can tell.
        started_s: how long the start of the stream took. first_picture_s: from then to the first picture.
        sent, returned: pictures. latency_ms: p50 and p95, encoding and transport both ways included.
        pictures: presentation time (1/90000 s) as text -> `GRID` x `GRID` mean colours, uint8 RGB, hex.
        changed_at_pts, effective_at_pts: the last picture that had come when the params were changed, and when the
            runner said that it has taken them.
        params_taken: whether it said so.
        errors: messages of the runner's error events.
        idle_after: whether it was IDLE again after the stream.
        failure: what went wrong; empty if nothing did.
    """

    health: list[tuple[str, float]] = field(default_factory=list)
    answers_at: float | None = None
    healthy_at: float | None = None
    listens_on_all: bool | None = None
    hardware: dict[str, Any] | None = None
    version: dict[str, Any] | None = None
    started_s: float | None = None
    first_picture_s: float | None = None
    sent: int = 0
    returned: int = 0
    fps: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    changed_at_pts: int | None = None
    effective_at_pts: int | None = None
    params_taken: bool | None = None
    errors: list[str] = field(default_factory=list)
    idle_after: bool = False
    failure: str = ""

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ProbeReport:
        """The report that `to_json` wrote, by this version or another one.

        Raises:
            ValueError: it is none.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or "health" not in found:
            raise ValueError("no report of a probe")
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})

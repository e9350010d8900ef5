"""Wording: what the screen says of loads, their plans and the standby, the same everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import figures

if TYPE_CHECKING:
    from runner.live.events import LoadPlan, MetricsTaken, Route

    from ..snapshot import Load, Snapshot

FILES_NAMED = 3
_DOING = {
    "start process": "starting its process",
    "import": "importing",
    "import torch": "importing torch",
    "initialize": "initializing",
    "warm up": "warming up",
    "first frame": "waiting for its first frame",
    "new code": "taking it in",
    "switch": "switching over",
    "stop old": "ending the old one",
    "memory back": "waiting for its memory to come back",
}
# hop -> its name in a row of hops that lie in order, and the shortest
_HOPS = {
    "relay, decode": ("relay, decode", "relay"),
    "encode back": ("encode", "encode"),
    "relay, decode back": ("relay, decode", "relay"),
}


def doing(step: str) -> str:
    """The step of a load under way: ``importing``."""
    return _DOING.get(step, step) or "starting"


def cause(load: Load) -> str:
    """What made the load happen: an earlier revision, the saved files, or the reason given."""
    if load.restores is not None:
        return f"back to revision {load.restores}"
    if not load.files:
        return load.reason
    names = [os.path.basename(file) for file in load.files]
    shown = ", ".join(names[:FILES_NAMED])
    return f"{shown} and {len(names) - FILES_NAMED} more saved" if len(names) > FILES_NAMED else f"{shown} saved"


def manner(plan: LoadPlan) -> str:
    """Level and way of a reload: ``code, weights kept`` or ``process, overlap, from standby``."""
    if plan.level == "code":
        return "code, weights kept"
    parts = ["process", *([plan.way] if plan.way in ("overlap", "hand-over") else [])]
    return ", ".join([*parts, "from standby"] if plan.standby else parts)


def frames_by(snapshot: Snapshot, *, short: bool = False) -> tuple[str, bool]:
    """Which revision makes the frames, and whether that is what is on disk; and whether that needs attention."""
    if snapshot.making is None:
        return "no revision runs", snapshot.error is not None
    name = f"revision {snapshot.making}"
    if snapshot.making != snapshot.serving:
        return f"{name}, being tried", False
    if not snapshot.watching:
        return name, False
    if snapshot.on_disk:
        return f"{name} on disk" if not short else f"{name} = disk", False
    return f"{name}, not on disk" if not short else f"{name} ≠ disk", True


def room(plan: LoadPlan, *, short: bool = False) -> str:
    """What was measured before a process was put beside another: ``needs 1.2 GB of RAM, 10.3 GB free``.

    Args:
        short: without saying of which memory, and what follows from it.
    """
    if not plan.memory:
        return ""
    needed, free = figures.memory(plan.needed_bytes), figures.memory(plan.free_bytes)
    kind = "" if short else " of RAM" if plan.memory == "RAM" else " of GPU memory"
    numbers = f"needs {needed}{kind}, {free} free"
    tight = plan.way == "hand-over" and plan.needed_bytes > plan.free_bytes
    return f"no room for two: {numbers}" if tight and not short else numbers


def change(before: int | None, after: int | None) -> str:
    """Bytes before and after: ``412 → 414 MB``; "" where there is nothing to tell."""
    if not after:
        return ""
    last = figures.memory(after)
    if not before or figures.memory(before) == last:
        return last
    first, unit = figures.memory(before).split()
    return f"{first} → {last}" if last.endswith(unit) else f"{first} {unit} → {last}"


def undertaking(plan: LoadPlan) -> str:
    """What is done to load a revision: ``fresh process from standby``."""
    if plan.level == "code":
        return "code into the running process"
    if plan.way == "hand-over":
        return "hand-over"
    return "fresh process from standby" if plan.standby else "fresh process"


def standby_state(snapshot: Snapshot) -> str:
    """``off``, ``warming``, ``ready`` or ``dropped``: the process that waits for the next reload."""
    news = snapshot.standby
    if not snapshot.standby_on:
        return "off"
    return news.state if news is not None and news.state != "off" else "warming"


def standby(snapshot: Snapshot) -> str:
    """Its state, with its kind and memory, or the reason: ``standby ready, fork 150 MB``."""
    state, news = standby_state(snapshot), snapshot.standby
    details = ""
    if news is not None and state == "dropped":
        details = f": {news.reason}" if news.reason else ""
    elif news is not None and state == "ready" and news.memory_bytes:
        details = f", {news.kind} {figures.memory(news.memory_bytes)}"
    return f"standby {state}{details}"


def route_of(snapshot: Snapshot) -> Route | None:
    """Figures of the way by trickle; those of its end once the stream is over."""
    ended = snapshot.ended.route if snapshot.ended is not None else None
    return snapshot.metrics.route or ended


def hop(name: str, *, short: bool = False) -> str:
    """A hop's name in a row of all of them, in their order: ``relay, decode``, or ``relay``."""
    return _HOPS.get(name, (name, name))[short]


def codecs(metrics: MetricsTaken) -> str:
    """What decodes and encodes: ``h264 → libx264``; "" where nothing does."""
    return f"{metrics.decoder or '–'} → {metrics.encoder or '–'}" if metrics.decoder or metrics.encoder else ""

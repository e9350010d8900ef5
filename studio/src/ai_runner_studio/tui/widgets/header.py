"""Header and activity line: which pipeline, in what state, and what is going on with it right now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from .. import figures
from .line import SplitLine
from .reloads import why

if TYPE_CHECKING:
    from ...snapshot import Load, Snapshot

STATE_STYLES = {
    "ONLINE": "$text-success",
    "LOADING": "$text-warning",
    "DEGRADED_INPUT": "$text-warning",
    "DEGRADED_INFERENCE": "$text-warning",
    "ERROR": "$text-error",
    "OFFLINE": "$foreground 60%",
}
_STATE_NAMES = {"DEGRADED_INPUT": "DEGRADED INPUT", "DEGRADED_INFERENCE": "DEGRADED INFERENCE"}
_DOING = {
    "start process": "starting its process",
    "import": "importing",
    "import torch": "importing torch",
    "initialize": "initializing",
    "warm up": "warming up",
    "first frame": "waiting for its first frame",
    "switch": "switching over",
    "stop old": "stopping the old process",
}
_WORTH_SAYING_S = 0.001
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Header(SplitLine):
    """Pipeline on the left; state, revision and device on the right."""

    def show_snapshot(self, snapshot: Snapshot, pipeline: str, paused: bool) -> None:
        left = Content.assemble(("AI Runner Studio", "bold $primary"), ("  ", ""), (pipeline, "bold"))
        style = STATE_STYLES.get(snapshot.state, "$foreground 60%")
        name = _STATE_NAMES.get(snapshot.state, snapshot.state) or ("LOADING" if snapshot.load else "STARTING")
        if snapshot.phase == "ended":
            name, style = "ENDED", "$text-error"
        parts = [Content.styled(f"● {name}", f"bold {style}")]
        if paused:
            parts.append(Content.styled("❚❚ paused", "bold $text-warning"))
        if snapshot.serving is not None:
            parts.append(Content(f"revision {snapshot.serving}"))
        if snapshot.device:
            parts.append(Content.styled(snapshot.device, "$foreground 60%"))
        self.set(left, Content("   ").join(parts))


class Activity(SplitLine):
    """What is going on: a load with its stopwatch, the last reload's result, or what is wrong."""

    def show_snapshot(self, snapshot: Snapshot, now: float) -> None:
        left, right = _activity(snapshot, now)
        self.set(left, right)


def is_loading(snapshot: Snapshot) -> bool:
    """Whether a stopwatch has to run."""
    starting = snapshot.phase == "starting"
    return starting or (snapshot.load is not None and snapshot.load.outcome == "loading")


def loading_text(snapshot: Snapshot, now: float) -> str:
    """``importing 1.3 s``: the step under way, for how long."""
    load = snapshot.load
    if load is None or load.outcome != "loading":
        return "starting the runner host"
    doing = _DOING.get(load.step, load.step) or "starting"
    in_step = now - load.started_at - sum(step.seconds for step in load.steps)
    return f"{doing}  {max(0.0, in_step):.1f} s"


def _activity(snapshot: Snapshot, now: float) -> tuple[Content, Content]:
    load = snapshot.load
    if snapshot.phase == "ended":
        return Content.styled("✗ The runner host has ended.  r starts it again, q quits", "$text-error"), Content()
    if is_loading(snapshot):
        return _loading_line(load, snapshot, now), _still(snapshot)
    if snapshot.error is not None:
        text = f"✗ {snapshot.error.headline.splitlines()[0]}"
        return Content.styled(text, "$text-error"), Content.assemble(
            _still(snapshot), ("  e details", "$foreground 60%")
        )
    if snapshot.ended is not None:
        text = snapshot.ended.error or "The input has come to its end."
        style = "$text-error" if snapshot.ended.error else "$text-warning"
        return Content.styled(text, style), Content.styled("i another input  r again", "$foreground 60%")
    return _at_rest(load), _watching(snapshot)


def _loading_line(load: Load | None, snapshot: Snapshot, now: float) -> Content:
    spinner = _SPINNER[int(now * 10) % len(_SPINNER)]
    if load is None:
        return Content.styled(f"{spinner} Starting the runner host…", "$text-warning")
    return Content.assemble(
        (f"{spinner} Loading revision {load.revision}", "bold $text-warning"),
        (f"  {loading_text(snapshot, now)}", "$foreground"),
        (f"  {why(load)}", "$foreground 60%"),
    )


def _still(snapshot: Snapshot) -> Content:
    return Content.styled(f"revision {snapshot.serving} still runs" if snapshot.serving else "", "$foreground 60%")


def _at_rest(load: Load | None) -> Content:
    if load is None:
        return Content()
    slowest = sorted(load.steps, key=lambda step: -step.seconds)
    steps = "  ".join(
        f"{step.name} {figures.seconds(step.seconds)}" for step in slowest if step.seconds >= _WORTH_SAYING_S
    )
    return Content.assemble(
        ("✓ ", "$text-success"),
        (f"Revision {load.revision}", "$foreground"),
        (f"  {why(load)}, ready in {figures.seconds(load.total_s)}", "$foreground"),
        (f"   {steps}", "$foreground 60%"),
    )


def _watching(snapshot: Snapshot) -> Content:
    if not snapshot.watching:
        return Content.styled("not watching", "$foreground 60%")
    return Content.styled(f"watching {figures.count(snapshot.watching, 'file')}", "$foreground 60%")

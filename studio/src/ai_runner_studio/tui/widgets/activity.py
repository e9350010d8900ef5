"""Activity line: what is going on right now: a load with its stopwatch, its result, or what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from runner.live.plain_json import visible

from ...sources.silence import no_frame
from .. import figures, wording
from .line import SplitLine

if TYPE_CHECKING:
    from ...snapshot import Load, Snapshot

RESULT_SHOWN_S = 60.0  # what a load took and cost is news for a while; the pane of reloads keeps it
_WORTH_SAYING_S = 0.001
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FAINT = "$foreground 60%"


class Activity(SplitLine):
    """What is going on: a load with its stopwatch, the last reload's result, or what is wrong."""

    def show_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """`now`: seconds since the epoch, for the stopwatch."""
        load = snapshot.load
        if snapshot.phase == "ended":
            self.set(Content.styled("✗ The runner host has ended.  r starts it again, q quits", "$text-error"))
        elif is_loading(snapshot):
            self.set(*_loading(load, snapshot, now, self.content_size.width))
        elif snapshot.error is not None:
            headline = Content.styled(f"✗ {visible(snapshot.error.headline.splitlines()[0])}", "$text-error")
            self.set(headline, Content.assemble(_still(snapshot), ("  e details", _FAINT)))
        elif snapshot.ended is not None:
            text = visible(snapshot.ended.error) or "The input has come to its end."
            style = "$text-error" if snapshot.ended.error else "$text-warning"
            self.set(Content.styled(text, style), Content.styled("i another input  r again", _FAINT))
        elif silence := no_frame(snapshot.metrics.silent_s):
            said = Content.styled(f"The input gives {silence}.", "$text-warning")
            self.set(said, Content.styled("i another input", _FAINT))
        else:
            serving = next((load for load in snapshot.loads if load.revision == snapshot.serving), None)
            if serving is None:
                self.set(Content(), _watching(snapshot), ())
            elif now - serving.started_at - serving.total_s > RESULT_SHOWN_S:
                self.set(_serves(serving), _watching(snapshot), ())
            else:
                self.set(_result(serving), _watching(snapshot), _background(serving))


def is_loading(snapshot: Snapshot) -> bool:
    """Whether a stopwatch has to run."""
    starting = snapshot.phase == "starting"
    return starting or (snapshot.load is not None and snapshot.load.outcome == "loading")


def loading_text(snapshot: Snapshot, now: float) -> str:
    """``importing 1.3 s``: the step under way, for how long."""
    load = snapshot.load
    if load is None or load.outcome != "loading":
        return "starting the runner host"
    in_step = max(0.0, now - load.started_at - sum(step.seconds for step in load.steps))
    return f"{wording.doing(load.step)} {in_step:.1f} s"


def _loading(
    load: Load | None, snapshot: Snapshot, now: float, width: int
) -> tuple[Content, Content, tuple[Content, ...]]:
    spinner = _SPINNER[int(now * 10) % len(_SPINNER)]
    if load is None or load.outcome != "loading":
        return Content.styled(f"{spinner} Starting the runner host…", "$text-warning"), Content(), ()
    plan = load.plan
    left = Content.assemble(
        (f"{spinner} Revision {load.revision}: ", "bold $text-warning"),
        (f"{wording.undertaking(plan)}, {loading_text(snapshot, now)}", "$foreground"),
    )
    more = [_still(snapshot), *(Content.styled(part, _FAINT) for part in (wording.cause(load), plan.why))]
    if plan.way == "hand-over":
        room = wording.room(plan)
        fits = left.cell_length + 2 + len(room) <= width
        more.insert(0, Content(room if fits else wording.room(plan, short=True)))
    return left, Content(), tuple(more)


def _still(snapshot: Snapshot) -> Content:
    runs = snapshot.serving is not None and snapshot.making == snapshot.serving
    return Content.styled(f"revision {snapshot.serving} still runs" if runs else "", _FAINT)


def _result(load: Load) -> Content:
    """What came of the load that serves: ``Revision 5 serves after 62 ms, in place, 0 frames lost``."""
    plan = load.plan
    parts = [f"Revision {load.revision} serves after {figures.seconds(load.total_s)}"]
    if plan.way != "start":
        parts += [plan.way, f"{figures.count(load.frames_lost, 'frame')} lost"]
    parts += ["forced, not proven"] if load.forced else []
    style = "$text-warning" if load.frames_lost or load.forced else "$foreground"
    return Content.assemble(("✓ ", "$text-success"), (", ".join(parts), style))


def _serves(load: Load) -> Content:
    forced = ", forced, not proven" if load.forced else ""
    return Content.assemble(("✓ ", "$text-success"), f"Revision {load.revision} serves{forced}")


def _background(load: Load) -> tuple[Content, ...]:
    """What made it happen, and its steps, longest first."""
    slowest = sorted(load.steps, key=lambda step: -step.seconds)
    steps = [f"{step.name} {figures.seconds(step.seconds)}" for step in slowest if step.seconds >= _WORTH_SAYING_S]
    return (Content(wording.cause(load)), *(Content.styled(step, _FAINT) for step in steps))


def _watching(snapshot: Snapshot) -> Content:
    if not snapshot.watching:
        return Content.styled("not watching", _FAINT)
    return Content.styled(f"watching {figures.count(snapshot.watching, 'file')}", _FAINT)

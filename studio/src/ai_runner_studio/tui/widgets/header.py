"""Header: which pipeline, in what state, and how it is reloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from .. import wording
from .line import SplitLine

if TYPE_CHECKING:
    from ...snapshot import Snapshot

STATE_STYLES = {
    "ONLINE": "$text-success",
    "LOADING": "$text-warning",
    "DEGRADED_INPUT": "$text-warning",
    "DEGRADED_INFERENCE": "$text-warning",
    "ERROR": "$text-error",
    "OFFLINE": "$foreground 60%",
}
_STATE_NAMES = {"DEGRADED_INPUT": "DEGRADED INPUT", "DEGRADED_INFERENCE": "DEGRADED INFERENCE"}
_STANDBY_MARKS = {"ready": "✓", "warming": "…", "dropped": "✗", "off": "–"}
_FAINT = "$foreground 60%"


class Header(SplitLine):
    """Pipeline on the left; on the right how it is reloaded, state, revision and device, as full as there is room."""

    def show_snapshot(self, snapshot: Snapshot, pipeline: str, paused: bool) -> None:
        name = Content.styled(pipeline, "bold")
        titled = Content.assemble(("AI Runner Studio", "bold $primary"), "  ", name)
        device = [Content.styled(snapshot.device, _FAINT)] if snapshot.device else []
        forms = [
            (
                left,
                _joined(
                    [
                        *_reloading(snapshot, brevity),
                        *_state(snapshot, paused, brevity),
                        *(device if with_device else []),
                    ],
                    brevity,
                ),
            )
            for left, brevity, with_device in (
                (titled, 0, True),
                (titled, 1, True),
                (name, 1, True),
                (name, 2, True),
                (name, 2, False),
                (Content.styled(pipeline.rpartition(":")[2], "bold"), 2, False),
            )
        ]
        room = self.content_size.width
        self.set(*next((form for form in forms if sum(part.cell_length for part in form) + 2 <= room), forms[-1]))

    def on_resize(self) -> None:
        show = getattr(self.screen, "show_header", None)
        if show is not None:
            show()


def _joined(parts: list[Content], brevity: int) -> Content:
    return Content("  " if brevity == 2 else "   ").join(parts)


def _state(snapshot: Snapshot, paused: bool, brevity: int) -> list[Content]:
    style = STATE_STYLES.get(snapshot.state, _FAINT)
    name = _STATE_NAMES.get(snapshot.state, snapshot.state) or ("LOADING" if snapshot.load else "STARTING")
    if snapshot.phase == "ended":
        name, style = "ENDED", "$text-error"
    parts = [Content.styled(f"● {name}", f"bold {style}")]
    if paused:
        parts.append(Content.styled("❚❚ paused", "bold $text-warning"))
    frames_by, attention = wording.frames_by(snapshot, short=brevity == 2)
    parts.append(Content.styled(frames_by, "$text-warning" if attention else "$foreground"))
    if any(load.forced and load.revision == snapshot.serving for load in snapshot.loads):
        parts.append(Content.styled("forced, not proven", "$text-warning"))
    return parts


def _reloading(snapshot: Snapshot, brevity: int) -> list[Content]:
    """How the next reload will be done. `brevity`: 0 with details, 1 in words, 2 by marks."""
    if snapshot.phase != "running":
        return []
    state = wording.standby_state(snapshot)
    if brevity == 2:
        weights, standby = f"weights {'✓' if snapshot.keep_weights else '–'}", f"standby {_STANDBY_MARKS[state]}"
    else:
        weights = "weights kept" if snapshot.keep_weights else "weights not kept"
        standby = wording.standby(snapshot) if brevity == 0 else f"standby {state}"
    style = "$text-warning" if state == "dropped" else _FAINT
    return [Content.styled(weights, _FAINT), Content.styled(standby, style)]

"""MetricsLine: the figures that matter most in one line, which is also the splitter below the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from ...route import drops
from .. import figures
from .line import SplitLine
from .splitter import Draggable

if TYPE_CHECKING:
    from runner.live.events import MetricsTaken

    from ...snapshot import Snapshot


_ROOMY = 90  # cells from which figures stand further apart


class MetricsLine(SplitLine, Draggable):
    """As many figures as fit, in order of interest."""

    def show_snapshot(self, snapshot: Snapshot) -> None:
        left = Content()
        room = self.size.width - 5
        roomy = room >= _ROOMY
        gap = " " * (1 + roomy)
        for part in _parts(snapshot.metrics, gap, "dropped" if roomy else "drop"):
            longer = Content.assemble(left, (f"{gap}│{gap}", "$foreground 20%"), part) if left else part
            if longer.cell_length > room:
                break
            left = longer
        self.set(left, Content.styled("↕", "$foreground 40%"))

    def on_resize(self) -> None:
        show = getattr(self.screen, "show_metrics", None)
        if show is not None:
            show()


def _parts(metrics: MetricsTaken, gap: str, dropped_name: str) -> list[Content]:
    latency = metrics.latency_ms
    reasons = drops(metrics)
    # That frames are not worked on while the pipeline loads is as it should be, and so is the limit of a rate.
    dropped = sum(reasons.values()) - reasons.get("loading", 0)
    unwanted = dropped - reasons.get("rate", 0)
    slow = metrics.fps_in > 1 and metrics.fps_out < 0.8 * metrics.fps_in
    parts = [
        Content.assemble(
            _pair("in", f"{metrics.fps_in:.1f}"),
            gap,
            _pair("out", f"{metrics.fps_out:.1f}", "$text-warning" if slow else "$foreground"),
            (" fps", "$foreground 60%"),
        ),
        Content.assemble(
            _pair("p50", figures.milliseconds(latency["p50"]) if "p50" in latency else "–"),
            gap,
            _pair("p95", figures.milliseconds(latency["p95"]) if "p95" in latency else "–"),
            (" ms", "$foreground 60%"),
        ),
        _pair(dropped_name, f"{dropped:,}", "$text-warning" if unwanted else "$foreground"),
        Content(figures.memory(metrics.memory_bytes) if metrics.memory_bytes else "– MB"),
        _pair("cpu", f"{metrics.cpu_percent:.0f}%"),
    ]
    if metrics.vram_bytes is not None:
        total = f"/{figures.memory(metrics.vram_total_bytes)}" if metrics.vram_total_bytes else ""
        parts.append(_pair("vram", figures.memory(metrics.vram_bytes) + total))
    parts.append(_pair("frames", f"{metrics.frames_out:,}"))
    parts.append(_pair("time", figures.clock(metrics.position_s)))
    return parts


def _pair(name: str, value: str, style: str = "$foreground") -> Content:
    return Content.assemble((f"{name} ", "$foreground 60%"), (value, style))
